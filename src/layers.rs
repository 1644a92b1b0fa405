//! The order of imports, as data, and its check against the sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::LazyLock,
};

use regex::Regex;

/// Layers of a folder, the lowest first: a module imports only from layers below its own. Modules of one layer don't know each other.
/// Every module of these folders has a layer.
const LAYERS: [(&str, &[&[&str]]); 2] = [
    (
        "",
        &[
            &["shutdown", "spelling", "telemetry"],
            &["tenants"],
            &["web"],
            &["api", "transport"],
            &["config"],
            &["app"],
            &["doctor"],
            &["cli"],
        ],
    ),
    ("transport", &[&["stream"], &["poll", "sse", "websocket"], &["socketio"]]),
];

/// A module as the names on its path: `["web", "access"]`.
type Module = Vec<String>;

/// Imports between the modules of one folder: (importing, imported), with the file of one such import.
type Imports = BTreeMap<(String, String), String>;

/// Returns the modules of this crate with their sources, without tests.
fn modules() -> BTreeMap<Module, String> {
    fn visit(folder: &Path, module: &Module, found: &mut BTreeMap<Module, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            let child = [&module[..], &[stem.to_owned()]].concat();
            if path.is_dir() {
                visit(&path, &child, found);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !["layers", "tests"].contains(&stem)
            {
                let module = if ["lib", "main", "mod"].contains(&stem) { module.clone() } else { child };
                let source = fs::read_to_string(&path).unwrap();
                found.entry(module).or_default().push_str(without_tests(&source));
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &Module::new(), &mut found);
    found
}

/// Returns a source without the tests at its end.
fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod tests {").next().unwrap_or(source)
}

/// Returns the paths of a source that begin with `crate` or `super`, in `use` and elsewhere, each as its names.
fn paths(source: &str) -> Vec<Vec<String>> {
    static COMMENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"//[^\n]*").unwrap());
    static PATH: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b((?:crate|super)(?:::(?:\w+|\{[^;]*))*)").unwrap());
    let source = COMMENT.replace_all(source, "");
    PATH.captures_iter(&source).flat_map(|found| expanded(&found[1])).collect()
}

/// Expands the braces of an import: `crate::{a::b, c}` is `crate::a::b` and `crate::c`.
fn expanded(path: &str) -> Vec<Vec<String>> {
    let names =
        |path: &str| path.split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    let Some((start, list)) = path.split_once('{') else { return vec![names(path)] };
    let start: Vec<String> = names(start);
    let (mut members, mut depth) = (vec![String::new()], 0_i32);
    for char in list.chars() {
        match char {
            '}' if depth == 0 => break,
            ',' if depth == 0 => members.push(String::new()),
            _ => {
                depth += i32::from(char == '{') - i32::from(char == '}');
                members.last_mut().unwrap().push(char);
            }
        }
    }
    let of_member = |member: &String| expanded(member).into_iter().map(|rest| [&start[..], &rest[..]].concat());
    members.iter().filter(|member| !member.trim().is_empty()).flat_map(of_member).collect()
}

/// Returns the imports between the modules of each folder.
fn imports(modules: &BTreeMap<Module, String>) -> BTreeMap<Module, Imports> {
    let mut found: BTreeMap<Module, Imports> = BTreeMap::new();
    for (module, source) in modules {
        for path in paths(source) {
            let ups = path.iter().take_while(|name| *name == "super").count();
            let base = if path[0] == "crate" { &[][..] } else { &module[..module.len().saturating_sub(ups)] };
            let target = [base, &path[ups.max(1)..]].concat();
            let common = module.iter().zip(&target).take_while(|(one, other)| one == other).count();
            let (Some(from), Some(to)) = (module.get(common), target.get(common)) else { continue };
            // Not an item of the folder itself.
            if modules.keys().any(|known| known.starts_with(&target[..=common])) {
                let pair = (from.clone(), to.clone());
                found.entry(module[..common].to_vec()).or_default().insert(pair, module.join("/"));
            }
        }
    }
    found
}

#[test]
fn imports_go_to_lower_layers_only() {
    let (modules, mut wrong) = (modules(), Vec::new());
    let imports = imports(&modules);
    for (folder, layers) in LAYERS {
        let folder: Module = folder.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let layer = |name: &str| layers.iter().position(|layer| layer.contains(&name));
        let children: BTreeSet<&String> = modules
            .keys()
            .filter(|module| module.starts_with(&folder))
            .filter_map(|module| module.get(folder.len()))
            .collect();
        wrong.extend(children.iter().filter(|name| layer(name).is_none()).map(|name| format!("{name} has no layer")));
        for ((from, to), file) in imports.get(&folder).into_iter().flatten() {
            if layer(to) >= layer(from) {
                wrong.push(format!("{file} imports {to}, which is not below {from}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_of_a_folder_do_not_import_each_other_in_a_circle() {
    for (folder, imports) in imports(&modules()) {
        let mut left: BTreeSet<(String, String)> = imports.into_keys().collect();
        loop {
            let importing: BTreeSet<String> = left.iter().map(|(from, _)| from.clone()).collect();
            let before = left.len();
            // A module that imports nothing more is in no circle.
            left.retain(|(_, to)| importing.contains(to));
            if left.len() == before {
                break;
            }
        }
        assert!(left.is_empty(), "src/{}: {left:#?}", folder.join("/"));
    }
}

#[test]
fn every_form_of_an_import_is_read() {
    let source =
        "use crate::{a::{b, c}, d};\nuse super::{e, f::g as h};\n// use crate::no;\nfn x() { super::super::i::j(); }";
    let found: Vec<String> = paths(source).iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["crate::a::b", "crate::a::c", "crate::d", "super::e", "super::f::g as h", "super::super::i::j"]);
}
