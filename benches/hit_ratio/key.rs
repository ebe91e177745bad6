//! Block key with only the parts that the memory tier uses: a trace has no objects.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockKey {
    pub block: u32,
    pub start: u32,
    pub end: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as the cache's key has it")]
impl BlockKey {
    pub fn start(&self) -> u64 {
        self.start.into()
    }

    pub fn end(&self) -> u64 {
        self.end.into()
    }
}
