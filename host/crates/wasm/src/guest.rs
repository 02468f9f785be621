//! What a store holds beside the guest's own memory.

use std::sync::Arc;

use deltaforge_model::json::RowEncoders;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::call::Call;
use crate::error::Ended;
use crate::grants::Grants;
use crate::limits::MemoryLimit;
use crate::voice::Voice;

/// A guest's surroundings.
pub(crate) struct Guest {
    /// What it is working on; none between calls.
    pub(crate) call: Option<Call>,
    pub(crate) voice: Arc<Voice>,
    pub(crate) memory: MemoryLimit,
    /// What it wrote into the log as an error in this call: why it panics.
    pub(crate) last_words: Option<String>,
    encoders: RowEncoders,
    wasi: WasiCtx,
    table: ResourceTable,
}

impl Guest {
    pub(crate) fn new(grants: Grants, voice: &Arc<Voice>, mem_mb: u64) -> Self {
        Self {
            call: None,
            voice: voice.clone(),
            memory: MemoryLimit::new(mem_mb),
            last_words: None,
            encoders: RowEncoders::default(),
            wasi: crate::wasi::context(grants, voice),
            table: ResourceTable::new(),
        }
    }

    pub(crate) fn call(&mut self) -> Result<&mut Call, Ended> {
        self.call.as_mut().ok_or_else(|| Ended::Edit("there is no batch outside of a call".to_owned()))
    }

    pub(crate) fn call_and_encoders(&mut self) -> Result<(&Call, &mut RowEncoders), Ended> {
        let Self { call, encoders, .. } = self;
        let call =
            call.as_ref().ok_or_else(|| Ended::Edit("there is no batch outside of a call".to_owned()))?;
        Ok((call, encoders))
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}
