//! Looks at the GPUs' clocks, temperatures and power while something is measured.

use super::gpu::library;
use crate::domain::measure::conditions::{GpuConditions, GpuState, look};
use nvml_wrapper::{
    Device, Nvml,
    bitmasks::device::ThrottleReasons,
    enum_wrappers::device::{Clock, PerformanceState, TemperatureSensor},
};
use std::{
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often it looks. NVML itself averages power over a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks at the GPUs from a thread of its own, so that no chunk waits for NVML to be stamped.
pub(crate) struct ConditionsWatch {
    stop: Sender<()>,
    thread: JoinHandle<Vec<GpuConditions>>,
}

impl ConditionsWatch {
    /// Begins to look at the GPUs that somebody uses.
    pub(crate) fn begin() -> Self {
        let (stop, stopped) = channel::<()>();
        let thread = thread::spawn(move || {
            let mut seen = Vec::new();
            let Ok(nvml) = library() else { return seen };
            loop {
                look(&mut seen, states(&nvml));
                // The other end is dropped to stop this.
                if stopped.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout) {
                    return seen;
                }
            }
        });
        Self { stop, thread }
    }

    /// Ends the looks, and returns what they saw. Nothing where there is no NVML.
    pub(crate) fn end(self) -> Vec<GpuConditions> {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}

/// The state of each GPU on which a process computes.
fn states(nvml: &Nvml) -> Vec<GpuState> {
    let count = nvml.device_count().unwrap_or_default();
    let state = |index| {
        let device = nvml.device_by_index(index).ok()?;
        let used = device.running_compute_processes().is_ok_and(|processes| !processes.is_empty());
        used.then(|| state(index, &device))
    };
    (0..count).filter_map(state).collect()
}

fn state(gpu: u32, device: &Device<'_>) -> GpuState {
    let watts = |milliwatts: u32| f64::from(milliwatts) / 1000.0;
    GpuState {
        gpu,
        name: device.name().unwrap_or_default(),
        sm_clock_mhz: device.clock_info(Clock::SM).ok().map(f64::from),
        memory_clock_mhz: device.clock_info(Clock::Memory).ok().map(f64::from),
        temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
        power_watts: device.power_usage().ok().map(watts),
        power_limit_watts: device.enforced_power_limit().ok().map(watts),
        performance_state: device.performance_state().ok().and_then(named),
        slowed_by: device.current_throttle_reasons().map(slowed_by).unwrap_or_default(),
    }
}

/// `P0` to `P15`.
fn named(state: PerformanceState) -> Option<String> {
    let number = state.as_c();
    (number < 16).then(|| format!("P{number}"))
}

/// The reasons that make a busy GPU slower. That it is idle, or that somebody set its clocks, is none of them.
fn slowed_by(reasons: ThrottleReasons) -> Vec<String> {
    [
        (ThrottleReasons::SW_POWER_CAP, "sw-power-cap"),
        (ThrottleReasons::HW_SLOWDOWN, "hw-slowdown"),
        (ThrottleReasons::SYNC_BOOST, "sync-boost"),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, "sw-thermal-slowdown"),
        (ThrottleReasons::HW_THERMAL_SLOWDOWN, "hw-thermal-slowdown"),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "hw-power-brake"),
    ]
    .into_iter()
    .filter(|(reason, _)| reasons.contains(*reason))
    .map(|(_, name)| name.to_owned())
    .collect()
}
