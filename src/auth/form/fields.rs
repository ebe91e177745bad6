//! The fields of a form, each once, with the file's name substituted.

use super::{FilePart, MAX_HEAD, refusal};
use crate::s3::S3Error;

const FILENAME: &str = "${filename}";
/// Prefix of fields that S3 ignores.
const IGNORED: &str = "x-ignore-";

/// A field of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Name as sent.
    pub name: String,
    /// Name in lower case, by which the field is looked up.
    pub known_as: String,
    pub value: String,
}

impl Field {
    pub(super) fn new(name: String, value: String) -> Self {
        Self { known_as: name.to_ascii_lowercase(), name, value }
    }
}

/// All relevant fields before the file, in order. Names differ in more than their case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<Field>);

impl Fields {
    /// Drops fields that S3 ignores, and substitutes the name of `file` for `${filename}`.
    ///
    /// # Errors
    /// `InvalidArgument` for a repeated name, since servers differ on which of two values counts, and for a missing
    /// file name; `MaxPostPreDataLengthExceeded` if the substitution makes the fields too long.
    pub(super) fn new(fields: Vec<Field>, file: &FilePart) -> Result<Self, S3Error> {
        let mut known: Vec<Field> = Vec::with_capacity(fields.len());
        let mut room = MAX_HEAD;
        for mut field in fields {
            if field.known_as.starts_with(IGNORED) {
                continue;
            }
            if known.iter().any(|other| other.known_as == field.known_as) {
                return Err(refusal::field_twice(&field.name, &field.value));
            }
            expand(&mut field, file, room)?;
            room = room.checked_sub(field.value.len()).ok_or_else(refusal::head_too_long)?;
            known.push(field);
        }
        Ok(Self(known))
    }

    /// Returns the value of a field, by its name in lower case.
    pub fn get(&self, known_as: &str) -> Option<&str> {
        self.iter().find(|field| field.known_as == known_as).map(|field| &*field.value)
    }

    /// Iterates over the fields in the order in which they were sent.
    pub fn iter(&self) -> impl Iterator<Item = &Field> {
        self.0.iter()
    }
}

/// Replaces each `${filename}` by the last segment of the file's name.
fn expand(field: &mut Field, file: &FilePart, room: usize) -> Result<(), S3Error> {
    let places = field.value.matches(FILENAME).count();
    if places == 0 {
        return Ok(());
    }
    let refused = || refusal::no_filename(&field.name, &field.value);
    let path = file.name.as_deref().ok_or_else(refused)?;
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    if places.saturating_mul(name.len()) > room {
        return Err(refusal::head_too_long());
    }
    let value = field.value.replace(FILENAME, name);
    // A server that replaces once more would store another key than was allowed.
    if value.contains(FILENAME) {
        return Err(refused());
    }
    field.value = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)], file: Option<&str>) -> Result<Vec<String>, String> {
        let list = pairs.iter().map(|(name, value)| Field::new((*name).into(), (*value).into()));
        let file = FilePart { name: file.map(str::to_owned), content_type: None };
        match Fields::new(list.collect(), &file) {
            Ok(fields) => Ok(fields.iter().map(|field| field.value.clone()).collect()),
            Err(error) => Err(error.code.into_owned()),
        }
    }

    #[test]
    fn the_name_of_the_file_is_its_last_segment() {
        for (name, expected) in [
            ("a.jpg", "user/a.jpg"),
            ("C:\\Program Files\\directory1\\file.txt", "user/file.txt"),
            ("dir/b", "user/b"),
            ("../../secret", "user/secret"),
            ("dir/..", "user/.."),
            ("", "user/"),
            ("dir/", "user/"),
        ] {
            let key = fields(&[("key", "user/${filename}")], Some(name));
            assert_eq!(key.unwrap(), [expected], "{name}");
        }
        let both = [("key", "${filename}-${filename}"), ("x-amz-meta-n", "<${filename}>")];
        assert_eq!(fields(&both, Some("n")).unwrap(), ["n-n", "<n>"]);
    }

    #[test]
    fn r21_a_name_that_asks_for_itself_or_is_not_there_is_refused() {
        let key = [("key", "${filename}")];
        assert_eq!(fields(&key, None).unwrap_err(), "InvalidArgument");
        assert_eq!(fields(&key, Some("${filename}")).unwrap_err(), "InvalidArgument");
        let built = [("key", "$${filename}{filename}")];
        assert_eq!(fields(&built, Some("")).unwrap_err(), "InvalidArgument");
        let long = "${filename}".repeat(500);
        let name = "n".repeat(1000);
        assert_eq!(
            fields(&[("key", &long)], Some(&name)).unwrap_err(),
            "MaxPostPreDataLengthExceeded"
        );
    }

    #[test]
    fn r21_a_field_given_twice_is_refused_and_an_ignored_one_is_none() {
        assert_eq!(fields(&[("key", "a"), ("Key", "b")], None).unwrap_err(), "InvalidArgument");
        let ignored = [("x-ignore-a", "1"), ("key", "a"), ("X-Ignore-A", "${filename}")];
        assert_eq!(fields(&ignored, None).unwrap(), ["a"]);
    }
}
