//! What `bindgen!` makes of `wit/deltaforge-plugin-1.0.0`.

#![allow(missing_docs, unused_variables, unsafe_code, clippy::all, clippy::undocumented_unsafe_blocks)]

/// The world `processor`, and every interface that the worlds share.
pub mod processor {
    wasmtime::component::bindgen!({
        path: "../../../wit/deltaforge-plugin-1.0.0",
        world: "processor",
        imports: { default: trappable },
        exports: { default: async },
        with: { "deltaforge:plugin/events.batch": crate::v1::Shown },
    });
}

/// The world `formatter`.
pub mod formatter {
    wasmtime::component::bindgen!({
        path: "../../../wit/deltaforge-plugin-1.0.0",
        world: "formatter",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "deltaforge:plugin/types": super::processor::deltaforge::plugin::types,
            "deltaforge:plugin/events": super::processor::deltaforge::plugin::events,
            "deltaforge:plugin/log": super::processor::deltaforge::plugin::log,
            "deltaforge:plugin/metrics": super::processor::deltaforge::plugin::metrics,
            "deltaforge:plugin/clock": super::processor::deltaforge::plugin::clock,
        },
    });
}
