//! `hotset disk verify`: reads every record of the disk tier and verifies its checksums.
//!
//! Exits with 0 if all records are intact, and with 1 if any is damaged or cannot be read. A server fetches a damaged
//! block again, so damage is harmless to clients, but it is a sign of a failing device.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Subcommand;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::config_file::{ConfigFile, wrong};
use crate::cache::disk::{Damage, Verification, Verified};
use crate::cache::{DiskConfig, DiskError};
use crate::config::ConfigError;

/// Maximum number of damaged records reported one by one.
const TOLD: usize = 100;

#[derive(Debug, Subcommand)]
pub(super) enum DiskCommand {
    /// Read every record and report damage; changes nothing
    Verify(ConfigFile),
}

pub(super) fn run(command: &DiskCommand) -> ExitCode {
    let DiskCommand::Verify(file) = command;
    let config = match file.load() {
        Ok(config) => config,
        Err(error) => return wrong(&error),
    };
    if config.cache.disk.is_empty() {
        return wrong(&ConfigError::at("cache.disk", "is not set: there is nothing to verify"));
    }
    match verify(&config.cache.disk) {
        Ok(verified) => {
            // The exit code is the answer; a closed stdout does not change it.
            let _ = report(&mut io::stdout().lock(), &verified);
            if verified.damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("hotset: {error}");
            ExitCode::FAILURE
        }
    }
}

fn verify(paths: &[DiskConfig]) -> Result<Verified, DiskError> {
    let verification = Verification::of(paths)?;
    // On standard error, and only where that is a terminal.
    let bar = ProgressBar::new(verification.size()?);
    let template = "{wide_bar} {percent}%  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
    bar.set_style(ProgressStyle::with_template(template).expect("it is a template"));
    let verified = verification.run(|read| bar.inc(read));
    bar.finish_and_clear();
    verified
}

fn report(out: &mut impl Write, verified: &Verified) -> io::Result<()> {
    for Damage { file, offset, reason } in verified.damage.iter().take(TOLD) {
        match offset {
            Some(offset) => writeln!(out, "{} at {offset}: {reason}", file.display())?,
            None => writeln!(out, "{}: {reason}", file.display())?,
        }
    }
    if let Some(more) = verified.damage.len().checked_sub(TOLD).filter(|more| *more > 0) {
        writeln!(out, "and {more} more")?;
    }
    if verified.cut_off > 0 {
        writeln!(out, "{} segments end in what a crash cut off: no damage", verified.cut_off)?;
    }
    writeln!(
        out,
        "{} segments: {} blocks of {}, {} records of objects; {} damaged{}",
        verified.segments,
        verified.blocks,
        HumanBytes(verified.block_bytes),
        verified.objects,
        verified.damage.len() - verified.unreadable,
        match verified.unreadable {
            0 => String::new(),
            count => format!(", {count} cannot be read and may be whole"),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(verified: &Verified) -> String {
        let mut out = Vec::new();
        report(&mut out, verified).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_report_names_places_and_sums_up() {
        let damage = |n: u64| Damage {
            file: "/d/blocks/1.seg".into(),
            offset: n.checked_sub(1),
            reason: "why".into(),
        };
        let mut verified = Verified {
            segments: 2,
            blocks: 3,
            block_bytes: 3 << 20,
            objects: 4,
            cut_off: 0,
            damage: vec![damage(0), damage(33)],
            unreadable: 0,
        };
        assert_eq!(
            told(&verified),
            "/d/blocks/1.seg: why\n/d/blocks/1.seg at 32: why\n\
             2 segments: 3 blocks of 3.00 MiB, 4 records of objects; 2 damaged\n"
        );
        verified.unreadable = 1;
        let text = told(&verified);
        assert!(text.ends_with("; 1 damaged, 1 cannot be read and may be whole\n"), "{text}");
        verified.unreadable = 0;
        verified.cut_off = 1;
        verified.damage = (0..150).map(damage).collect();
        let text = told(&verified);
        assert!(text.contains("\nand 50 more\n1 segments end in what a crash cut off"), "{text}");
        assert_eq!(text.lines().count(), 103);
    }
}
