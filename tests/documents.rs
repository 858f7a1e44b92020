//! What the documentation says must hold: links lead somewhere, and configurations in it are valid and pass their own
//! tests.

#![allow(clippy::disallowed_methods, reason = "reads the documentation")]

use std::{
    fs,
    path::{Path, PathBuf},
};

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    let pages = pages();
    for page in &pages {
        for link in links(&prose(&read(page))) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').map_or((link.as_str(), None), |(p, a)| (p, Some(a)));
            let target = if path.is_empty() {
                page.clone()
            } else {
                page.parent().expect("a page lies in a folder").join(path)
            };
            let there = target.exists()
                && anchor.is_none_or(|anchor| anchors(&read(&target)).contains(&anchor.into()));
            if !there {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn configurations_are_valid() {
    let mut found = 0;
    for page in pages() {
        for text in blocks(&read(&page), "yaml") {
            found += 1;
            let config = halley_rules::load(&text).unwrap_or_else(|problems| {
                let shown: String = problems
                    .iter()
                    .map(|problem| problem.render(&page.display().to_string(), &text))
                    .collect();
                panic!("a configuration in {} is not valid:\n{shown}", page.display())
            });
            for outcome in halley_rules::testing::run(&config) {
                assert!(outcome.failures.is_empty(), "{}: {outcome:?}", page.display());
            }
        }
    }
    assert!(found > 0, "no configuration was found: are the blocks marked ```yaml?");
}

#[test]
fn markdown_is_read_rightly() {
    let text = "# One `two`, three\n[a](b.md#c) ![d](e.png)\n```yaml\n[x](y)\nk: 1\n```\n## Two!\n";
    assert_eq!(links(&prose(text)), ["b.md#c", "e.png"]);
    assert_eq!(blocks(text, "yaml"), ["[x](y)\nk: 1\n"]);
    assert_eq!(anchors(text), ["one-two-three", "two"]);
}

/// All pages of the repository that are for readers of it.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder exists") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

fn read(path: &Path) -> String {
    if path.is_dir() {
        return String::new();
    }
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text without code blocks.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// The insides of the code blocks marked with `language`.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let inside = text.split("```").skip(1).step_by(2);
    inside.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).map(str::to_owned).collect()
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<String> {
    let after = text.split("](").skip(1);
    after.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// The names by which headings can be linked: lower case, without punctuation, spaces as hyphens.
fn anchors(text: &str) -> Vec<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let slug = |line: &str| {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        let legal = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        kept.chars().filter(legal).map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}
