//! What a record costs in things that can be counted: allocations, instructions, copies. How to read it: README.md here.
//!
//! `cargo bench --bench counters` prints the figures and how they differ from `record/counters.md`; with `-- write` it
//! writes that file, with `-- sites` it prints where allocations come from.
#![allow(clippy::print_stdout)] // the report is what this program is for

#[path = "common/corpora.rs"]
mod corpora;
#[path = "common/stages.rs"]
mod stages;

#[path = "counters/allocations.rs"]
mod allocations;
#[path = "counters/copies.rs"]
mod copies;
#[path = "counters/corpus_file.rs"]
mod corpus_file;
#[path = "counters/instructions.rs"]
mod instructions;
#[path = "counters/rig.rs"]
mod rig;
#[path = "counters/rules.rs"]
mod rules;
#[path = "counters/table.rs"]
mod table;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use corpora::Corpus;
use corpus_file::CorpusFile;
use instructions::WORKERS;
use table::Table;

type Outcome<T> = Result<T, Box<dyn Error>>;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Size of each corpus; read over and over.
const CORPUS_BYTES: usize = 1 << 20;
/// The figures that a change is compared with.
const KEPT: &str = "benches/record/counters.md";
const KEPT_HEAD: &str = "# Counters\n\nWritten by `cargo bench --bench counters -- write`; \
    [../README.md](../README.md) says what the columns are.\n\n";

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| *argument != "--bench")
        .collect();
    if let ["instructions", directory] = arguments[..] {
        return instructions::child(Path::new(directory));
    }
    if let ["copies", path, docker, room, steps] = arguments[..] {
        return copies::child(
            Path::new(path),
            docker.parse()?,
            room.parse()?,
            steps.parse()?,
        );
    }
    let name = format!("longshore-counters-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory)?;
    let done = run(&arguments, &directory);
    std::fs::remove_dir_all(&directory)?;
    done
}

fn run(arguments: &[&str], directory: &Path) -> Outcome<()> {
    let files = Corpus::all(CORPUS_BYTES)
        .iter()
        .map(|corpus| CorpusFile::write(corpus, directory))
        .collect::<Outcome<Vec<CorpusFile>>>()?;
    match arguments {
        ["sites"] => sites(&files, directory),
        ["write"] => write(&count(&files, directory)?),
        _ => compare(&count(&files, directory)?),
    }
}

fn count(files: &[CorpusFile], directory: &Path) -> Outcome<Table> {
    let mut table = Table::default();
    let valgrind = has_valgrind();
    if valgrind {
        instructions::count(directory, files, &mut table)?;
    } else {
        println!("No valgrind: instructions and copies are not counted.\n");
    }
    for file in files {
        for (name, compression) in WORKERS {
            let allocations = allocations::per_million_records(file, compression)?;
            let column = name.replace("worker", "allocations");
            table.set(file.name, &column, allocations);
        }
        if valgrind {
            table.set(file.name, "copies", copies::per_row_byte(file)?);
        }
    }
    Ok(table)
}

fn kept_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(KEPT)
}

/// Valgrind with one of its tools. glibc copies and fills large blocks with one instruction that repeats itself, of which
/// valgrind counts each byte: it is told to do as it does with small ones.
fn valgrind(tool: &str) -> Command {
    let mut command = Command::new("valgrind");
    command.arg(format!("--tool={tool}")).env(
        "GLIBC_TUNABLES",
        "glibc.cpu.x86_rep_movsb_threshold=1073741824:\
         glibc.cpu.x86_rep_stosb_threshold=1073741824",
    );
    command
}

fn has_valgrind() -> bool {
    let version = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

fn write(table: &Table) -> Outcome<()> {
    let text = table.to_markdown();
    std::fs::write(kept_path(), format!("{KEPT_HEAD}{text}"))?;
    println!("{text}\nwritten to {KEPT}");
    Ok(())
}

fn compare(table: &Table) -> Outcome<()> {
    println!(
        "Instructions a record, allocations in a million records, bytes stored a byte of row:\n\n{}",
        table.to_markdown()
    );
    match std::fs::read_to_string(kept_path()) {
        Ok(kept) => println!(
            "Beside {KEPT}, in percent:\n\n{}",
            table.compared(&Table::from_markdown(&kept))
        ),
        Err(error) => println!("Not compared: cannot read {KEPT}: {error}"),
    }
    Ok(())
}

fn sites(files: &[CorpusFile], directory: &Path) -> Outcome<()> {
    for file in files {
        for (name, compression) in WORKERS {
            println!("{}, {name}: allocations in a million records", file.name);
            let sites = allocations::sites(file, compression, &directory.join("dhat.json"))?;
            for (count, site) in sites {
                println!("  {count:>10.1}  {site}");
            }
        }
    }
    Ok(())
}
