//! What a table of figures has to say of where they were measured: processor, memory, kernel, file system and disk, versions.

use super::contender::{Contender, Root};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Lines for the head of the table.
pub fn describe(directory: &Path) -> Vec<String> {
    let cpus = std::thread::available_parallelism().map_or(1, |count| count.get());
    let model = line_after("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory_kib: u64 = line_after("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or(0);
    vec![
        format!("machine  {cpus} × {model}, {} MiB of memory", memory_kib / 1024),
        format!("kernel   {}", output("uname", &["-srm"])),
        format!(
            "disk     {} (source, type, options), {}",
            output(
                "findmnt",
                &["-no", "SOURCE,FSTYPE,OPTIONS", "-T", &directory.to_string_lossy()]
            ),
            write_cache(directory)
        ),
    ]
}

/// The package's version, from dpkg or from the tree's own list of documents.
pub fn version(contender: &Contender, roots: &[Root], binary: &Path) -> String {
    if contender.needs.is_empty() {
        return output(&binary.to_string_lossy(), &["--version"]);
    }
    let of_need = |(name, program): &(&str, &str)| {
        let tree = roots
            .iter()
            .find(|root| root.name == *name && root.tree.join(program).exists());
        let root = tree.map_or(Path::new("/"), |root| &root.tree);
        // Each says it in its own way, most of them on standard error; the packages' change logs agree.
        let changelog = fs::read_dir(root.join("usr/share/doc"))
            .into_iter()
            .flatten()
            .flatten();
        let mut found = changelog
            .map(|entry| entry.path().join("changelog.Debian.gz"))
            .filter(|path| path.exists())
            .filter(|path| {
                let package = path.parent().and_then(Path::file_name);
                package.is_some_and(|package| package.to_string_lossy().starts_with(name))
            })
            .collect::<Vec<_>>();
        found.sort();
        let first = found.first().map_or(String::new(), |path| {
            let line = output("sh", &["-c", &format!("zcat '{}' | head -n 1", path.display())]);
            line.split(';')
                .next()
                .unwrap_or_default()
                .split(" bookworm")
                .next()
                .unwrap_or_default()
                .to_owned()
        });
        if first.is_empty() {
            (*name).to_owned()
        } else {
            first
        }
    };
    contender.needs.iter().map(of_need).collect::<Vec<_>>().join(", ")
}

fn line_after(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or(String::new(), |output| {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}

/// What the kernel thinks of the disk's cache: with "write through" a flush costs nothing.
fn write_cache(directory: &Path) -> String {
    let device = output("findmnt", &["-no", "MAJ:MIN", "-T", &directory.to_string_lossy()]);
    let queue = |device: &str| format!("/sys/dev/block/{device}/queue/write_cache");
    let cache = fs::read_to_string(queue(&device))
        .or_else(|_| fs::read_to_string(format!("/sys/dev/block/{device}/../queue/write_cache")));
    cache.map_or("write cache unknown".to_owned(), |cache| {
        format!("write cache: {}", cache.trim())
    })
}
