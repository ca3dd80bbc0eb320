# nixpkgs' installShellFiles, for the two calls that nix/package.nix makes.
installShellCompletion() { # --cmd NAME [--SHELL FILE]…
  local name shell
  while [ $# -gt 0 ]; do
    shell=$1
    case $shell in
      --cmd) name=$2 ;;
      --bash) install -D -m644 "$2" "$out/share/bash-completion/completions/$name.bash" ;;
      --fish) install -D -m644 "$2" "$out/share/fish/vendor_completions.d/$name.fish" ;;
      --zsh) install -D -m644 "$2" "$out/share/zsh/site-functions/_$name" ;;
      *) echo "installShellCompletion: unknown $shell" >&2; return 1 ;;
    esac
    shift 2
  done
}
installManPage() { install -D -m644 -t "$out/share/man/man${1##*.}" "$1"; }
