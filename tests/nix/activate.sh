# What a switch of a NixOS host does, under a real systemd: systems are built from the module, and their units and their
# activation run as they are. In vLLM's place the environment that Nix built starts the program's embedded engine.
. tests/nix/deploy.sh

systems=(first bump broken late)

# A folder of profiles with their locks, and the facts of this machine, beside tests/nix/host/flake.nix.
lay_host() {
  local host=$work/host profile
  rm -rf "$host" "$work/models"
  mkdir -p "$host"
  cp tests/nix/host/flake.nix "$host/"
  cp -r tests/nix/profiles "$host/profiles"
  sed 's|tests/awq|tests/late|; s|models/awq|models/late|' tests/nix/profiles/awq.toml > "$host/profiles/late.toml"
  for profile in gptq awq broken late; do
    mkdir -p "$work/models/$profile"
    echo '{"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 256, "max_position_embeddings": 131072}' > "$work/models/$profile/config.json"
    python3 tests/nix/make-weights.py "$work/models/$profile/model.safetensors" "$profile"
    # What is known of the model while the system is built: its shape, without its weights.
    mkdir -p "$host/profiles/shapes"
    cp -r "$work/models/$profile" "$host/profiles/shapes/$profile"
    quietly nix run "${standin[@]}" "$flake#awqdeploy" -- --profiles "$host/profiles" lock "$profile" --from "$work/models/$profile"
  done
  quietly nix run "${standin[@]}" "$flake#awqdeploy" -- facts > "$host/facts.json"
}

build_systems() {
  local system begun=$SECONDS
  for system in "${systems[@]}"; do
    quietly nix build "${below[@]}" --out-link "$work/system-$system" "path:$work/host#$system"
  done
  say "${#systems[@]} systems built in $((SECONDS - begun)) s"
}

# switch SYSTEM STATUS: as switch-to-configuration does. What changed is stopped, unless it says otherwise; then every active
# target is started, and with it whatever it wants and is not active: what failed, and what was stopped.
switch() {
  local system=$1 status=$2 path unit=awqdeploy-activate.service begun=$SECONDS
  path=$(readlink "$work/system-$system")/etc/systemd/system
  inside sh -ec "
    cmp -s /etc/systemd/system/$unit $path/$unit || systemctl stop $unit 2>/dev/null || true
    rm -rf /etc/systemd/system
    ln -s $path /etc/systemd/system
    systemctl daemon-reload
    systemctl start multi-user.target
    while [ \$(systemctl show --value --property ActiveState $unit) = activating ]; do sleep 0.2; done"
  ended=$(inside systemctl show --value --property ExecMainStatus $unit)
  say "switch to \`$system\`: the activation ended with $ended after $((SECONDS - begun)) s"
  [ "$ended" = "$status" ] || { inside journalctl --no-pager --lines 60 --unit $unit >&2; die "it should have ended with $status"; }
}
activations() { inside ls "$root/activations" | wc -l; }
process() { inside systemctl show --value --property MainPID vllm; }
# untouched SYSTEM STATUS: a switch that neither activates anything nor touches the server.
untouched() {
  local before
  before="$(activations) $(process)"
  switch "$@"
  [ "$before" = "$(activations) $(process)" ] || die "the server was touched: $before, now $(activations) $(process)"
}
said() { inside journalctl --no-pager --lines 20 --unit awqdeploy-activate | grep -q -- "$1" || die "the activation did not say \`$1\`"; }
unit_of_vllm() { inside systemctl show --value --property FragmentPath vllm; }

switches() {
  switch first 0
  serving awq
  inside "$root/bin/awqdeploy" generations --json > "$work/document.json"
  holds '[.generations[] | .profile] == ["gptq", "awq"]'
  [ "$(unit_of_vllm)" = /etc/systemd/system/vllm.service ] || die "the unit is not the declared one: $(unit_of_vllm)"
  untouched first 0
  inside systemctl stop awqdeploy-activate
  untouched first 0

  # The unit that is declared now names another build of the same lock: what serves goes on under its own.
  untouched bump 0
  serving awq
  [ "$(unit_of_vllm)" = /etc/systemd/system.control/vllm.service ] || die "what serves has the unit of another build"

  switch broken 6
  serving awq
  untouched broken 6
  said 'was tried as it is declared, and was rolled back'

  # Files that are not there yet: the switch fails, and the next one tries again.
  inside mv /srv/models/late /srv/models/later
  untouched late 4
  untouched late 4
  inside mv /srv/models/later /srv/models/late
  switch late 0
  serving late
  untouched late 0

  # What a person has gone back to stays. A switch has nothing to start; a boot finds that it is not what is declared.
  inside "$root/bin/awqdeploy" rollback gptq --yes > /dev/null 2>&1
  untouched late 0
  inside systemctl stop awqdeploy-activate
  untouched late 6
  said 'and `gptq` serves'
  serving gptq
}

activate() {
  [ "$(id -u)" = 0 ] || { echo "SKIPPED: booting a systemd in namespaces needs root" >&2; exit 77; }
  local ended begun=$SECONDS
  trap 'tests/real/with-systemd down --state "$state" 2>/dev/null || true' EXIT
  lay_host
  build_systems
  # /etc/awqdeploy is bound by `boot`; what a switch deploys comes from the store.
  mkdir -p "$work/etc"
  boot
  switches
  say "a dozen switches of a host: $((SECONDS - begun)) s"
}
