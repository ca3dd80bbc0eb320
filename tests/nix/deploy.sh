# `nix run .#deploy` as a person runs it who has laid the template out in /etc/awqdeploy: under a real systemd, in
# tests/real/with-systemd's namespaces, with the real Nix. In vLLM's place the environment that Nix built has a wheel that
# hands over to the program's embedded engine.

state=$work/machine
root=/var/lib/awqdeploy

inside() { tests/real/with-systemd run --state "$state" -- "$@"; }
# Nix inside, where /nix is /nix.
nix_inside() { inside env HOME=/root XDG_CACHE_HOME="$work/home/cache" NIX_CONF_DIR="$work" PATH="$(dirname "$nix"):$PATH" "$@"; }
# nix_run VERB STATUS ARGUMENT...: the app, as a document.
nix_run() {
  local verb=$1 status=$2 ended=0 begun=$SECONDS
  shift 2
  nix_inside nix run "${below[@]}" --offline "git+file:///etc/awqdeploy#$verb" -- "$@" --json \
    > "$work/document.json" 2> "$work/log" || ended=$?
  took=$((SECONDS - begun))
  say "nix run .#$verb -- $*: status $ended after $took s"
  [ "$ended" = "$status" ] || { cat "$work/log" "$work/document.json" >&2; die "the status should be $status"; }
}
holds() { jq -e "$1" "$work/document.json" > /dev/null || { cat "$work/document.json" >&2; die "not so: $1"; }; }
serving() {
  inside "$root/bin/awqdeploy" status --json > "$work/status.json"
  [ "$(jq -r .serving "$work/status.json")" = "$1" ] || { cat "$work/status.json" >&2; die "$1 should serve"; }
}
# The environment that a generation runs.
environment() {
  inside jq -r '.plan.runtime.command[0] | rtrimstr("/bin/python")' "$root/generations/$1/generation.json" \
    | { read -r link; inside readlink "$link"; }
}
in_store() { inside test -e "$1"; }
collect_garbage() { nix_inside nix-collect-garbage -d > "$work/garbage" 2>&1 || { cat "$work/garbage" >&2; die "nix-collect-garbage failed"; }; }

# What a person has on such a host: /etc/awqdeploy from the template, under version control, and models.
lay_out() {
  local etc=$work/etc profile
  rm -rf "$etc" "$work/models"
  mkdir -p "$etc"
  (cd "$etc" && quietly nix flake init --template "$flake")
  [ -e "$etc/flake.nix" ] && [ -e "$etc/awq.toml" ] || die "the template is not what it should be: $(ls "$etc")"
  located "$etc"
  # These profiles fit this machine; the shipped ones ask for four GPUs.
  rm -r "$etc"/*.toml "$etc/runtimes"
  cp -r tests/nix/profiles/* "$etc/"
  git -C "$etc" init --quiet
  git -C "$etc" add .
  for profile in gptq awq broken; do
    mkdir -p "$work/models/$profile"
    echo '{"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 256, "max_position_embeddings": 131072}' > "$work/models/$profile/config.json"
    python3 tests/nix/make-weights.py "$work/models/$profile/model.safetensors" "$profile"
  done
}

# The lock without one of its packages: another environment.
lighter() { awk -v RS= -v ORS='\n\n' '!/name = "idna"/' tests/nix/profiles/runtimes/vllm-0.32.0-cpu.toml; }

# Everything is built before the boot, from both locks: inside it is all there already.
build_ahead() {
  local lighter=$work/etc-lighter begun=$SECONDS
  from="from nothing"
  ! compgen -G "$work/store/nix/store/*-dependencies" > /dev/null || from="with a store that had parts of it"
  quietly nix run "${below[@]}" "git+file://$work/etc#deploy" -- --help > /dev/null
  built=$((SECONDS - begun))
  begun=$SECONDS
  rm -rf "$lighter"
  cp -r "$work/etc" "$lighter"
  lighter > "$lighter/runtimes/vllm-0.32.0-cpu.toml"
  for folder in "$work/etc" "$lighter"; do
    for verb in deploy rollback validate lock default; do
      quietly nix run "${below[@]}" "git+file://$folder#$verb" -- --help > /dev/null
    done
  done
  say "the other apps, and another environment: built in $((SECONDS - begun)) s"
}

# The app brings what the program asks for a lock: no uv is on this path.
locked_by_app() {
  local program folder=$work/etc-locked
  rm -rf "$folder"
  cp -r tests/nix/second "$folder"
  rm -r "$folder/runtimes"
  # Builds of interpreters lie elsewhere than wheels: whoever tests this may not reach them.
  sed -i 's/^\[runtime\]$/&\npython = "system"/' "$folder/newer.toml"
  program=$(quietly nix eval "${below[@]}" --raw "git+file://$work/etc#apps.x86_64-linux.lock.program")
  with_store env PATH=/usr/bin:/bin HOME="$work/home" "$program" newer --runtime --with 'cuda-python>=13' --profiles "$folder" > "$work/log" 2>&1 || { cat "$work/log" >&2; die "nix run .#lock fails"; }
  [ "$(grep -c '^\[\[wheel\]\]' "$folder/runtimes/vllm-0.33.0.toml")" -gt 100 ] || die "nix run .#lock wrote no lock"
}

# The variables that the help names, but for what the app passes as an option; and the proxies, which are written in both ways.
read_variables() {
  local names
  names=$(sed -n 's/.*env = "\(AWQDEPLOY_[A-Z]*\)".*/\1/p' src/cli/args/*.rs | grep -vx AWQDEPLOY_RUNTIMES)
  names+=$'\n'$(tr '\n' ' ' <<< "$(cat src/cli/args/*.rs)" | grep -o 'Environment: [^"]*' | grep -o '[A-Z_]\{7,\}')$'\nHTTP_PROXY\nALL_PROXY'
  sort -u <<< "$names"$'\n'"$(grep _PROXY <<< "$names" | tr '[:upper:]' '[:lower:]')"
}

# A person's own Nix evaluates and builds; only what changes the host is asked of sudo, with all that it needs on its
# command line. (The sudo here only says what it was asked.)
elevation() {
  local program place said option variable variables=() asked
  program=$(quietly nix eval "${below[@]}" --raw "git+file://$work/etc#apps.x86_64-linux.deploy.program")
  place=$(mktemp -d)
  chmod 755 "$place"
  printf '#!/bin/sh\necho asked "$@"\n' > "$place/sudo"
  chmod 755 "$place/sudo"
  anybody() { with_store setpriv --reuid=65534 --regid=65534 --clear-groups env -C / "${variables[@]}" PATH="$place:$PATH" "$program" "$@" 2>&1 || true; }
  said=$(anybody gptq --yes)
  [[ $said =~ ^asked\ --\ /nix/store/[^\ ]*/bin/awqdeploy\ --runtimes\ /nix/store/[^\ ]*-awqdeploy-runtimes\ deploy\ gptq\ --yes$ ]] \
    || die "sudo was asked otherwise: $said"
  for option in --dry-run --user --help; do
    said=$(anybody gptq $option)
    [[ $said != asked* && $said == *awqdeploy* ]] || die "deploy $option needs no root: $said"
  done

  # Whatever the program reads of its environment is kept, by its name: a value would be there for all to see.
  for variable in $(read_variables); do variables+=("$variable=/secret"); done
  said=$(anybody gptq --yes)
  asked=$(sed -n 's/^asked --preserve-env=\([^ ]*\) -- .*/\1/p' <<< "$said")
  [ "$(tr , '\n' <<< "$asked" | sort)" = "$(read_variables | sort)" ] || die "sudo shall keep what the program reads, and keeps: $said"
  [[ $said != *secret* ]] || die "sudo is told a value: $said"
  rm -r "$place"
}

boot() {
  tests/real/with-systemd down --state "$state" 2>/dev/null || true
  tests/real/with-systemd up --state "$state" --disk-size 2G --bind "$work/etc:/etc/awqdeploy" --bind "$work/models:/srv/models"
  # A store of its own over the one that is filled: what is collected here is there for the next test.
  inside mkdir -p /nix /run/nix
  inside mount -t tmpfs tmpfs /run/nix
  inside mkdir /run/nix/upper /run/nix/work
  inside mount -t overlay overlay -o "lowerdir=$work/store/nix,upperdir=/run/nix/upper,workdir=/run/nix/work" /nix
  inside git config --global --add safe.directory '*'
}

there() {
  local profile
  for profile in gptq awq broken; do
    nix_run default 0 --profiles /etc/awqdeploy lock "$profile"
  done

  nix_run deploy 0 gptq --yes --profiles /etc/awqdeploy
  holds '.end == "committed" and .profile == "gptq" and .exit_code == 0'
  serving gptq
  say "\`nix run .#deploy -- gptq\` $from: $built s to build, $took s to deploy; $SECONDS s since this check began, with Nix itself"
  one=$(environment 1)
  case $one in /nix/store/*-vllm-0.32.0-cpu) ;; *) die "generation 1 runs $one" ;; esac
  # What runs is what Nix built, through its launcher.
  inside sh -c 'tr "\0" "\n" < "/proc/$(pgrep -f "awqdeploy engine" | head -n 1)/environ"' | grep -q '^LD_LIBRARY_PATH=/run/opengl-driver/lib:' \
    || die "the engine was not started by the environment's launcher"
  nix_run deploy 0 gptq --yes --profiles /etc/awqdeploy
  holds '.end == "unchanged"'

  # The lock that Nix built from is the one that the program reads, or nothing happens.
  lighter > "$work/etc/runtimes/vllm-0.32.0-cpu.toml"
  inside mkdir -p /run/empty
  ! inside "$root/bin/awqdeploy" --profiles /etc/awqdeploy --runtimes /run/empty deploy awq --yes --json > "$work/document.json" \
    || die "an environment of another lock was taken"
  holds '.exit_code == 4 and (.help | contains("another lock"))'

  # Another lock makes another environment.
  nix_run deploy 0 awq --yes --profiles /etc/awqdeploy
  holds '.end == "committed" and .profile == "awq"'
  serving awq
  two=$(environment 2)
  [ "$one" != "$two" ] || die "another lock gave the same environment"

  nix_run deploy 6 broken --yes --profiles /etc/awqdeploy
  holds '.end == "rolled-back"'
  serving awq
  nix_run rollback 0 awq --yes
  holds '.end == "unchanged" and .action == "rollback"'
  nix_run validate 0
}

# Nix removes what it can, and then Nix itself is gone: the way back is there all the same.
and_back() {
  local program app
  program=$(inside readlink "$root/generations/1/program")
  in_store "$program" || die "the program of generation 1 is not in the store: $program"
  app=$(inside sh -c 'ls -d /nix/store/*-awqdeploy-deploy | head -n 1')
  collect_garbage
  ! in_store "$app" || die "nothing was collected"
  for path in "$one" "$two" "$program"; do
    in_store "$path" || die "the collector took $path, which a generation needs"
  done
  inside systemctl restart vllm
  serving awq

  # No Nix: neither the program nor its state. (There is no network either.)
  inside mount -t tmpfs tmpfs "$work/tool"
  inside mount -t tmpfs tmpfs /nix/var
  inside "$root/bin/awqdeploy" --profiles /etc/awqdeploy rollback gptq --yes --json > "$work/document.json"
  holds '.end == "committed" and .action == "rollback"'
  serving gptq
  inside umount /nix/var "$work/tool"
}

# What no generation needs any more is Nix's to remove.
and_gone() {
  local digest
  digest=$(inside sh -c "cat /etc/awqdeploy/runtimes/*.toml" | python3 tests/nix/lock-digest.py)
  inside sh -c "mkdir /run/built && ln -s $two /run/built/$digest"
  inside "$root/bin/awqdeploy" --profiles /etc/awqdeploy --runtimes /run/built deploy gptq --yes --json > "$work/document.json"
  holds '.end == "committed" and .profile == "gptq"'
  inside "$root/bin/awqdeploy" --profiles /etc/awqdeploy gc --json > "$work/document.json"
  collect_garbage
  ! in_store "$one" || die "nothing needs $one, and the collector left it"
  in_store "$two" || die "the collector took $two, which serves"
  serving gptq
}

# Units as NixOS keeps them: read-only, in the store. What deviates from them lies where systemd reads first.
as_on_nixos() {
  local ended units=/nix/store/00000000000000000000000000000000-system-units control=/etc/systemd/system.control/vllm.service
  inside sh -c "cp -a /etc/systemd/system $units && rm -r /etc/systemd/system && ln -s $units /etc/systemd/system"
  inside sh -c "mount --bind $units $units && mount -o remount,bind,ro $units && systemctl daemon-reload"
  ! inside touch /etc/systemd/system/any 2> /dev/null || die "the units are not read-only"

  inside "$root/bin/awqdeploy" --profiles /etc/awqdeploy rollback awq --yes --json > "$work/document.json"
  holds '.end == "committed"'
  serving awq
  [ "$(inside systemctl show --value --property FragmentPath vllm)" = $control ] || die "systemd does not run the unit of what serves"
  inside "$root/bin/awqdeploy" --profiles /etc/awqdeploy rollback gptq --yes --json > "$work/document.json"
  holds '.end == "committed"'
  serving gptq
  ! inside test -e $control || die "the unit is what is declared, and another one hides it"
  [ "$(inside systemctl show --value --property FragmentPath vllm)" != $control ] || die "systemd still runs the unit that was removed"

  # A unit that nobody declares would not be there after a boot.
  inside umount $units
  inside rm $units/multi-user.target.wants/vllm.service
  ended=0
  inside "$root/bin/awqdeploy" --profiles /etc/awqdeploy rollback awq --yes --json > "$work/document.json" || ended=$?
  [ "$ended" = 3 ] && holds '.why | contains("does not start `vllm.service`")'
  serving gptq
}

deploy() {
  [ "$(id -u)" = 0 ] || { echo "SKIPPED: booting a systemd in namespaces needs root" >&2; exit 77; }
  local one two from built took begun=$SECONDS
  trap 'tests/real/with-systemd down --state "$state" 2>/dev/null || true' EXIT
  lay_out
  build_ahead
  elevation
  locked_by_app
  boot
  there
  and_back
  and_gone
  as_on_nixos
  say "there, back, and what is left: $((SECONDS - begun)) s"
}
