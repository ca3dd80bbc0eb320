//! The state of the GPUs while a server was measured: a card that is hot or out of power is slow for no fault of the server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One GPU at one moment, as NVML tells it. Absent: it does not tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GpuState {
    /// NVML's number of the GPU.
    pub gpu: u32,
    /// The name of the product.
    pub name: String,
    /// Clock of the multiprocessors, MHz.
    pub sm_clock_mhz: Option<f64>,
    /// Clock of the memory, MHz.
    pub memory_clock_mhz: Option<f64>,
    /// Temperature of the chip.
    pub temperature_celsius: Option<f64>,
    /// Power that it takes.
    pub power_watts: Option<f64>,
    /// Power that it may take.
    pub power_limit_watts: Option<f64>,
    /// Performance state, from `P0`, the fastest, to `P15`.
    pub performance_state: Option<String>,
    /// Why its clocks are lower than they could be.
    pub slowed_by: Vec<String>,
}

/// The state of one GPU during a measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuConditions {
    /// NVML's number of the GPU.
    pub gpu: u32,
    /// The name of the product.
    pub name: String,
    /// How often it was looked at.
    pub looks: u32,
    /// Clock of the multiprocessors, MHz.
    pub sm_clock_mhz: Option<Span>,
    /// Clock of the memory, MHz.
    pub memory_clock_mhz: Option<Span>,
    /// Temperature of the chip.
    pub temperature_celsius: Option<Span>,
    /// Power that it took.
    pub power_watts: Option<Span>,
    /// Power that it may take.
    pub power_limit_watts: Option<f64>,
    /// Performance states that it was in, from `P0`, the fastest, to `P15`.
    pub performance_states: Vec<String>,
    /// Why its clocks were lower than they could be, at any look: `sw-power-cap`, `hw-thermal-slowdown`.
    pub slowed_by: Vec<String>,
}

/// The least and the greatest of some readings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// The least.
    pub least: f64,
    /// The greatest.
    pub most: f64,
}

impl Span {
    fn with(span: Option<Self>, reading: Option<f64>) -> Option<Self> {
        let Some(reading) = reading else { return span };
        Some(span.map_or(Self { least: reading, most: reading }, |Self { least, most }| Self {
            least: least.min(reading),
            most: most.max(reading),
        }))
    }
}

/// Adds a look at all GPUs to the conditions so far.
pub fn look(conditions: &mut Vec<GpuConditions>, states: Vec<GpuState>) {
    for state in states {
        let index = conditions.iter().position(|known| known.gpu == state.gpu).unwrap_or_else(|| {
            conditions.push(GpuConditions {
                gpu: state.gpu,
                name: state.name.clone(),
                ..GpuConditions::default()
            });
            conditions.len() - 1
        });
        conditions[index].take(state);
    }
}

impl GpuConditions {
    fn take(&mut self, state: GpuState) {
        self.looks += 1;
        self.sm_clock_mhz = Span::with(self.sm_clock_mhz, state.sm_clock_mhz);
        self.memory_clock_mhz = Span::with(self.memory_clock_mhz, state.memory_clock_mhz);
        self.temperature_celsius = Span::with(self.temperature_celsius, state.temperature_celsius);
        self.power_watts = Span::with(self.power_watts, state.power_watts);
        self.power_limit_watts = state.power_limit_watts.or(self.power_limit_watts);
        add(&mut self.performance_states, state.performance_state);
        add(&mut self.slowed_by, state.slowed_by);
    }
}

/// Adds names that are not there yet, in order.
fn add(names: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    names.extend(more);
    names.sort();
    names.dedup();
}
