# Later calls: parts of another vLLM (`site.tar.xz.*`) and of its PyTorch (`t214.*`). GO=1, the last one: they are unpacked, and versions.sh starts.
CARRY=$1 G=${G:-/srv/go} V=/srv/other
[ -e "$G/with-systemd" ] || { echo "a fresh machine"; exit 3; }
mkdir -p "$V/parts" && cp "$CARRY"/{t214,site.tar.xz}.* "$V/parts/" 2> /dev/null
[ -n "${GO-}" ] || exit 0
cat > "$V/go.sh" <<'EOF'
cd /srv/other || exit 1
chmod 755 $G/z/zstd
cat parts/t214.* | LD_LIBRARY_PATH=$G/z $G/z/zstd -dc --long=27 | tar -x &
cat parts/site.tar.xz.* | xz -dc -T8 | tar -x
wait
# CUDA's libraries are the machine's own.
mkdir -p t214/nvidia
for folder in "$(python3 -c 'import torch, pathlib; print(pathlib.Path(torch.__file__).parents[1] / "nvidia")')"/*; do ln -sfn "$folder" t214/nvidia/; done
export LD_PRELOAD=/srv/other/t214/ncclx.so PYTORCH_SKIP_CUDNN_COMPATIBILITY_CHECK=1
export SITE=/srv/other/site:/srv/other/t214 BENCH=$G/bench AWQDEPLOY=$G/awqdeploy
exec bash $G/bench/systemd/versions.sh
EOF
export G
setsid bash "$V/go.sh" < /dev/null > "$V/go.log" 2>&1 &
sleep 25
cat "$V/go.log" /srv/out/vllm-*/versions.log
