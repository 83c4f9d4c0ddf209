//! What is refused in a layer.

/// What is wrong with an entry of a layer, or with the archive around it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LayerRefusal {
    /// The sum in a header is not that of its bytes.
    #[error("a header's checksum is wrong")]
    Checksum,
    /// A field that should hold a number does not, or one that is negative or too large.
    #[error("a number cannot be read")]
    Number,
    /// The archive ends in the middle of an entry.
    #[error("the archive is cut short")]
    CutShort,
    /// There is something other than zeros behind the end.
    #[error("there is content behind the end of the archive")]
    BehindTheEnd,
    /// A pax record is not `LENGTH KEY=VALUE`.
    #[error("a pax record cannot be read")]
    Record,
    /// A global pax header says something that readers apply to different entries.
    #[error("a global pax header names or sizes files")]
    Global,
    /// Two headers, or two records, give the same thing, so that readers could differ.
    #[error("something is said twice")]
    SaidTwice,
    /// The records before an entry are longer than the limit.
    #[error("the headers before an entry are too long")]
    LongExtension,
    /// A map of holes that does not fit its file.
    #[error("the map of a sparse file is wrong")]
    Sparse,
    /// A type of entry that is none of files, directories, links, devices.
    #[error("the type of an entry is not known")]
    UnknownType,
    /// A link, directory or device that comes with content.
    #[error("there is content of something that is no file")]
    ContentOfNoFile,
    /// An empty name, or one with NUL in it.
    #[error("a name is empty or has a NUL in it")]
    Name,
    /// There is something where a name's beginning is in other formats than the header's.
    #[error("a name has a beginning for some readers only")]
    Prefix,
    /// A file whose name ends like that of a directory, and is one for some readers.
    #[error("a file's name ends with a slash")]
    FileOrDirectory,
    /// A name of more than 255 bytes, or a path of more than 4,095.
    #[error("a name is too long")]
    LongName,
    /// A name that begins at the root of the file system.
    #[error("a name is absolute")]
    Absolute,
    /// A name with `..` in it.
    #[error("a name goes up with `..`")]
    Parent,
    /// More directories in each other than the limit.
    #[error("directories are nested too deeply")]
    Deep,
    /// The root as something other than a directory.
    #[error("the root is no directory")]
    Root,
    /// An entry below a symlink, which could lead anywhere.
    #[error("an entry is below a symlink")]
    ThroughSymlink,
    /// An entry below something that is neither directory nor symlink.
    #[error("an entry is below a file")]
    BelowFile,
    /// A hard link to what is not there, or is no file.
    #[error("a hard link points to no file")]
    HardLink,
    /// A whiteout without a name, of `.` or `..`, with content, or in a place where none can be.
    #[error("a whiteout removes nothing that can be named")]
    Whiteout,
    /// The layer does not begin as its media type says.
    #[error("the compression is not the one the manifest names")]
    Compression,
    /// The compressed stream is damaged, or there is more behind its end.
    #[error("the compressed stream is damaged")]
    Damaged,
}
