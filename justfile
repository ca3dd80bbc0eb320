# `just` lists the recipes. Without just, each line works as it stands.

_list:
    @{{just_executable()}} --list --unsorted

# The quick rooms of `it`: all of it takes eight minutes on two cores.
quick := "adoption:: api:: checkpoint:: circles:: docs:: generation:: lockfile:: machine:: planning:: profile:: service:: spelling:: tidy::"

# Formatting, lints and the quick tests: no root, under two minutes once it is built.
check:
    cargo fmt --check
    cargo clippy --all-targets --all-features --locked -- -D warnings
    cargo test --locked --test it -- {{quick}}

# Every test that needs nothing but Linux and Rust.
test *ARGS:
    cargo test --locked {{ARGS}}

# What needs root, Debian, systemd, vLLM or Nix. It says beforehand what it installs and downloads.
test-real:
    tests/real/all

# Licences, duplicates and sources of the dependencies, against deny.toml.
deny *CHECKS:
    tools/deny {{CHECKS}}

# Known vulnerabilities of the dependencies: needs the database of RustSec.
advisories:
    tools/deny advisories

# Write what the documents take from the program; read the diff.
docs:
    AWQDEPLOY_UPDATE_DOCS=1 cargo test --locked --test it docs

# Draw the pictures of README and docs anew, from a rehearsal: at a release.
pictures:
    tools/pictures

# A tarball of the program, its manual page and completions, in target/dist.
release:
    tools/release

# What CI runs, as root.
ci:
    .ci/run
