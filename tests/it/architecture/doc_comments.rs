//! First sentences of doc comments: each says what its item is or does, in a noun phrase or with a verb.

use super::*;

/// First words of a sentence that asks instead of telling. `Whether` is left to booleans.
const QUESTIONS: [&str; 9] =
    ["What", "Who", "Whose", "How", "Which", "Where", "When", "Why", "So many"];

/// Returns the lines that begin a doc comment with a question word, counted from 1.
fn questions(text: &str) -> Vec<usize> {
    let doc = |line: &str| {
        let line = line.trim_start();
        ["///", "//!"].into_iter().find(|mark| line.starts_with(mark))
    };
    let asks = |line: &str| {
        let words = line.trim_start().get(3..).unwrap_or("").trim_start();
        QUESTIONS.iter().any(|word| {
            words.strip_prefix(word).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        })
    };
    let lines: Vec<_> = text.lines().collect();
    let begins =
        |at: usize| doc(lines[at]).is_some() && (at == 0 || doc(lines[at - 1]) != doc(lines[at]));
    (0..lines.len()).filter(|&at| begins(at) && asks(lines[at])).map(|at| at + 1).collect()
}

#[test]
fn doc_comments_tell_and_do_not_ask() {
    let (mut read, mut found) = (0, Vec::new());
    for folder in ["src", "tests", "benches"] {
        for (path, text) in rust_files(folder) {
            read += 1;
            found.extend(questions(&text).iter().map(|line| format!("{folder}/{path}:{line}")));
        }
    }
    assert!(read > 500, "{read} files are read");
    assert!(found.is_empty(), "these begin with a question word: {found:#?}");
}

#[test]
fn a_question_word_is_found_at_the_beginning_of_a_comment_only() {
    let text = "//! Whatever it is.\n//! What it is.\n\n    /// When it ends.\n    /// How it ends.\n    fn f() {}\n/// Ends\n/// When\nfn g() {}\n";
    assert_eq!(questions(text), [4]);
}
