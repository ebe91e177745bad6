//! `hotset`: see `hotset --help`.

fn main() -> std::process::ExitCode {
    hotset::cli::main()
}
