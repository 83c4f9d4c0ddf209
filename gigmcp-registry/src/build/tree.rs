//! The files of a layer, in memory and in order.

use std::collections::BTreeMap;

/// Files, directories and symlinks below `/`, each once. Directories that something is in are there by themselves.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tree(BTreeMap<String, Node>);

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Node {
    Directory,
    File { content: Vec<u8>, mode: FileMode },
    Symlink(String),
}

/// Whether a file can be executed. There are no other modes: 0644 and 0755.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileMode {
    /// 0644.
    Data,
    /// 0755.
    Executable,
}

impl Tree {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file. One that is there already must be the same.
    ///
    /// # Errors
    /// [`TreeError`]: the path is none, or something else is there.
    pub fn file(&mut self, path: &str, content: impl Into<Vec<u8>>, mode: FileMode) -> Result<(), TreeError> {
        self.add(path, Node::File { content: content.into(), mode })
    }

    /// Adds a symlink. Where it leads to is resolved inside the sandbox, and not looked at here.
    ///
    /// # Errors
    /// As [`file`](Self::file).
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), TreeError> {
        if target.is_empty() || target.contains('\0') {
            return Err(TreeError::Path { path: path.to_owned() });
        }
        self.add(path, Node::Symlink(target.to_owned()))
    }

    /// Adds a directory.
    ///
    /// # Errors
    /// As [`file`](Self::file).
    pub fn directory(&mut self, path: &str) -> Result<(), TreeError> {
        self.add(path, Node::Directory)
    }

    /// Adds everything of another tree.
    ///
    /// # Errors
    /// As [`file`](Self::file).
    pub fn merge(&mut self, other: Self) -> Result<(), TreeError> {
        other.0.into_iter().try_for_each(|(path, node)| self.add(&path, node))
    }

    /// The content of a file, through no symlink.
    #[must_use]
    pub fn content(&self, path: &str) -> Option<&[u8]> {
        match self.0.get(path.trim_start_matches('/'))? {
            Node::File { content, .. } => Some(content),
            Node::Directory | Node::Symlink(_) => None,
        }
    }

    /// Whether a program is there: a file that can be executed, or symlinks of the tree to one.
    #[must_use]
    pub fn has_program(&self, path: &str) -> bool {
        let node = self.followed(path).and_then(|path| self.0.get(&path));
        matches!(node, Some(Node::File { mode: FileMode::Executable, .. }))
    }

    /// Where the symlinks at this path end, if within the tree.
    fn followed(&self, path: &str) -> Option<String> {
        let mut path = path.trim_start_matches('/').to_owned();
        for _ in 0..LINKS {
            let Node::Symlink(target) = self.0.get(&path)? else { return Some(path) };
            let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { path.split('/').collect() };
            parts.pop();
            for part in target.split('/').filter(|part| !matches!(*part, "" | ".")) {
                if part == ".." {
                    parts.pop()?;
                } else {
                    parts.push(part);
                }
            }
            path = parts.join("/");
        }
        None
    }

    /// A script at this path that looks for Node by `/usr/bin/env`, which images need not have, gets it at its place.
    pub fn use_runtime_of_image(&mut self, path: &str) {
        if let Some(path) = self.followed(path)
            && let Some(Node::File { content, mode: FileMode::Executable }) = self.0.get_mut(&path)
        {
            super::archive::interpreter_in_its_place(content);
        }
    }

    /// Makes the file, which must be there, one that can be executed, with other content.
    pub(super) fn make_program(&mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) -> Option<()> {
        match self.0.get_mut(path)? {
            Node::File { content, mode } => {
                *mode = FileMode::Executable;
                change(content);
                Some(())
            }
            Node::Directory | Node::Symlink(_) => None,
        }
    }

    /// All paths, in the order of their bytes, without a leading `/`.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(path, node)| (path.as_str(), node))
    }

    pub(super) fn remove_unless(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|path, _| keep(path));
    }

    /// The sizes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let size = |node: &Node| if let Node::File { content, .. } = node { content.len() as u64 } else { 0 };
        self.0.values().map(size).sum()
    }

    fn add(&mut self, path: &str, node: Node) -> Result<(), TreeError> {
        let path = path.strip_prefix('/').unwrap_or(path);
        if !is_path(path) {
            return Err(TreeError::Path { path: path.to_owned() });
        }
        for (at, _) in path.match_indices('/') {
            match self.0.get(&path[..at]) {
                Some(Node::Directory) => {}
                Some(_) => return Err(TreeError::Taken { path: path[..at].to_owned() }),
                None => drop(self.0.insert(path[..at].to_owned(), Node::Directory)),
            }
        }
        match self.0.get(path) {
            Some(there) if *there == node => Ok(()),
            Some(_) => Err(TreeError::Taken { path: path.to_owned() }),
            None => {
                self.0.insert(path.to_owned(), node);
                Ok(())
            }
        }
    }
}

const LINKS: usize = 8;

fn is_path(path: &str) -> bool {
    let is_name = |name: &str| !name.is_empty() && name.len() <= 255 && name != "." && name != "..";
    path.len() < 4096
        && !path.contains('\0')
        && !path.split('/').any(|name| name.starts_with(".wh."))
        && path.split('/').all(is_name)
}

/// Why something has no place in a tree.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The path has an empty part, `.`, `..`, a whiteout's name, or is too long.
    #[error("{path:?} is no path of an image")]
    Path {
        /// The path.
        path: String,
    },
    /// Something else is there.
    #[error("there are two different things at /{path}")]
    Taken {
        /// The path.
        path: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_thing() {
        let taken = |path: &str| Err(TreeError::Taken { path: path.to_owned() });
        let invalid = |path: &str| Err(TreeError::Path { path: path.to_owned() });
        for (case, path, expected) in [
            ("beside", "/app/b", Ok(())),
            ("the same again", "app/a", Ok(())),
            ("in a file", "app/a/b", taken("app/a")),
            ("in a symlink", "lib/a", taken("lib")),
            ("instead of a directory", "app", taken("app")),
            ("up", "app/../a", invalid("app/../a")),
            ("nothing", "", invalid("")),
            ("two slashes", "app//a", invalid("app//a")),
            ("a whiteout", "app/.wh.a", invalid("app/.wh.a")),
        ] {
            let mut tree = Tree::new();
            tree.file("app/a", "a", FileMode::Data).expect("a path");
            tree.symlink("lib", "usr/lib").expect("a path");
            assert_eq!(tree.file(path, "a", FileMode::Data), expected, "{case}");
        }
        let mut tree = Tree::new();
        tree.file("a", "a", FileMode::Data).expect("a path");
        assert_eq!(tree.file("a", "b", FileMode::Data), taken("a"), "other content");
        assert_eq!(tree.file("a", "a", FileMode::Executable), taken("a"), "another mode");
    }
}
