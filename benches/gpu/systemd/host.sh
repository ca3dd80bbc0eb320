# host.sh: sourced by run.sh, on a machine with a GPU and no systemd. It lays layer.tar.xz over the root as an overlay, and
# boots a systemd in it with the GPU visible. G: the folder with the pieces; T: where to work.

# The layer, on a file system of its own (an overlay refuses a lower layer that lies in another), without what the host has.
layer() {
  mkdir -p "$T/layer" "$T/merged"
  mount -t tmpfs -o size=2G,mode=755 tmpfs "$T/layer"
  tar -C "$T/layer" -xJf "$G/layer.tar.xz"
  (cd "$T/layer" && find . ! -type d | while read -r file; do
    if [ -e "/$file" ] || [ -L "/$file" ]; then rm -f "$file"; fi
  done)
  mkdir -p "$T/layer/etc/ld.so.conf.d"
  cp /etc/passwd /etc/group "$T/layer/etc/"
  local user number
  for user in messagebus:101 systemd-network:998 systemd-timesync:997 systemd-resolve:996; do
    number=${user#*:} user=${user%:*}
    grep -q "^$user:" /etc/passwd || echo "$user:x:$number:$number::/:/usr/sbin/nologin" >> "$T/layer/etc/passwd"
    grep -q "^$user:" /etc/group || echo "$user:x:$number:" >> "$T/layer/etc/group"
  done
  for user in systemd-journal:995 kvm:994 render:993; do
    grep -q "^${user%:*}:" /etc/group || echo "${user%:*}:x:${user#*:}:" >> "$T/layer/etc/group"
  done
  printf '%s\n' 'passwd: files systemd' 'group: files systemd' 'shadow: files' 'hosts: files' > "$T/layer/etc/nsswitch.conf"
  echo 0123456789abcdef0123456789abcdef > "$T/layer/etc/machine-id"
  [ -e /etc/hosts ] || echo '127.0.0.1 localhost' > "$T/layer/etc/hosts"
  local folder
  for folder in /usr/local/nvidia/lib64 /usr/local/nvidia/lib; do [ ! -d $folder ] || echo $folder; done \
    > "$T/layer/etc/ld.so.conf.d/nvidia-host.conf"
  install -D -m 755 "$AWQDEPLOY" "$T/layer/usr/local/bin/awqdeploy"
  # What lies below / must be there before it is merged: an overlay need not see what its lower layer gets later.
  mount -t overlay overlay -o "lowerdir=$T/layer:/" "$T/merged"
  # with-systemd's own needs, on this side of it.
  export PATH=$PATH:$T/layer/usr/bin:$T/layer/usr/sbin
  export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$T/layer/usr/lib/x86_64-linux-gnu
}

# boot [SECONDS]: after a power cut a boot lasts until the server is up, which it starts.
boot() {
  local patience=${1:-60} device point binds=()
  for device in /dev/nvidia*; do [ ! -e "$device" ] || binds+=(--bind "$device"); done
  while read -r _ point _; do
    case $point in / | /proc* | /sys* | /dev* | /run* | /tmp* | "$T"/*) continue ;; esac
    binds+=(--ro-bind "$point")
  done < /proc/mounts
  # Where the root group has the memory controller, an instance that is made from it has it too: MemoryMax= is in force.
  echo $$ > /sys/fs/cgroup/cgroup.procs
  timeout $((patience + 40)) "$W" up --timeout "$patience" --state "$S" --disk image --disk-size 40G --cgroup unified --root "$T/merged" \
    --bind "$T/etc:/etc/awqdeploy" --bind "$T/share:$T/share" "${binds[@]}"
}
