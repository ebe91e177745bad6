//! `hotset`: see `hotset --help`.

use mimalloc::MiMalloc;

/// A request makes some sixty small allocations, and blocks of a megabyte come and go. glibc's allocator takes a
/// quarter of the instructions of a hit, and does not return freed memory.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    hotset::cli::main()
}
