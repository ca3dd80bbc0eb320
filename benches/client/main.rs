//! How true the client's clock is, and what it costs: many streams at once, from a server in a process of its own that
//! says when it sent each token.
//!
//! ```text
//! cargo bench --bench client                  # measures
//! cargo bench --bench client -- serve 8199    # is that server, for other programs
//! ```

#![allow(clippy::disallowed_methods, reason = "the server is a process of its own")]
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark is told and tells"
)]

mod server;

use awqdeploy::{domain::api::openai::Request, host::vllm::api::Api};
use futures_util::future::join_all;
use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio, exit},
    time::{Duration, Instant},
};
use tokio::runtime::{Builder, Runtime};

const TOKENS: u32 = 200;
const STREAMS: [usize; 4] = [1, 8, 64, 256];
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_mins(1);
const STARTS: usize = 21;

/// Ended with its owner.
struct Spawned(Child);

impl Drop for Spawned {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

fn main() {
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => measure(),
        ["serve", port] => {
            let listener = listen(port.parse().expect("a port"));
            event_loop().block_on(server::serve(listener)).expect("it serves");
        }
        _ => {
            eprintln!("`serve PORT`, or nothing");
            exit(2);
        }
    }
}

fn measure() {
    let port = listen(0).local_addr().expect("an address").port();
    let server =
        Command::new(env::current_exe().expect("a program")).args(["serve", &port.to_string()]).spawn();
    let _server = Spawned(server.expect("the server starts"));
    event_loop().block_on(async {
        let api = Api::at((Ipv4Addr::LOCALHOST, port).into(), "tiny", PATIENCE).expect("a client");
        while api.health().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        heading();
        for streams in STREAMS {
            for _ in 0..ROUNDS {
                one(&api, streams).await;
            }
        }
    });
    println!("peak memory of the client: {:.1} MB", peak_memory() as f64 / 1e6);
    println!("ready: {:.1} ms from its start to its first connection (median of {STARTS})", ready());
}

async fn one(api: &Api, streams: usize) {
    // Connections are there before the clock starts.
    api.connect(u32::try_from(streams).expect("few streams")).await;
    let request = Request::complete("Once upon a time", TOKENS).to_the_limit();
    let before = cpu();
    let answers = join_all((0..streams).map(|_| api.stream(&request))).await;
    let spent = cpu().saturating_sub(before);
    let mut errors = Errors::default();
    for answer in answers {
        let answer = answer.expect("a whole answer");
        let sample = answer.sample();
        errors.add(&answer.answer.text, sample.ttft_ms, &sample.itl_ms);
    }
    let tokens = f64::from(TOKENS) * streams as f64;
    errors.print(streams, spent.as_secs_f64() * 1e6 / tokens);
}

/// The time that a client reported less the time that the server said, milliseconds.
#[derive(Default)]
struct Errors {
    first: Vec<f64>,
    gaps: Vec<f64>,
}

impl Errors {
    fn add(&mut self, said: &str, ttft_ms: f64, itl_ms: &[f64]) {
        let sent: Vec<f64> =
            said.split_whitespace().map(|us| us.parse::<f64>().expect("a time") / 1000.0).collect();
        self.first.push(ttft_ms - sent[0]);
        self.gaps.extend(sent.windows(2).zip(itl_ms).map(|(sent, gap)| gap - (sent[1] - sent[0])));
    }

    fn print(mut self, streams: usize, cpu: f64) {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        println!(
            "{streams:>7} {:>9.2} {:>6.2} {:>6.2} {:>10.3} {:>6.2} {cpu:>12.1}",
            mean(&self.first),
            at(&mut self.first, 50),
            at(&mut self.first, 99),
            mean(&self.gaps),
            at(&mut self.gaps, 99),
        );
    }
}

fn heading() {
    println!("streams   TTFT error ms: mean, median, 99 %   ITL error ms: mean, 99 %   CPU ms / 1000 tokens");
}

/// From the start of the program to the connection of its first request, milliseconds.
fn ready() -> f64 {
    let listener = listen(0);
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let once = |_| {
        let began = Instant::now();
        let _validate = Spawned(
            Command::new(env!("CARGO_BIN_EXE_awqdeploy"))
                .args(["validate", "--url", &url, "--model", "tiny"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the program starts"),
        );
        let _connection = listener.accept().expect("a connection");
        began.elapsed().as_secs_f64() * 1000.0
    };
    at(&mut (0..STARTS).map(once).collect::<Vec<_>>(), 50)
}

/// The value that so many percent are below.
fn at(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * percent / 100]
}

/// The processor time of this process, of one thread, so far.
fn cpu() -> Duration {
    let times = fs::read_to_string("/proc/self/schedstat").expect("own statistics");
    let running = times.split_whitespace().next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(running.expect("a time"))
}

/// The most memory that it held, bytes.
fn peak_memory() -> u64 {
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    status.expect("own statistics").vmhwm.expect("a peak") * 1024
}

fn listen(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a port")
}

fn event_loop() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("an event loop")
}
