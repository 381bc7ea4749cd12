main() {
  find_version
  say "systemd=${version%%"$nl"*}"
  machine=
  [ ! -r /proc/sys/kernel/arch ] || read -r machine </proc/sys/kernel/arch
  say "machine=${machine:-$(uname -m)}"
  etc=writable
  for path in "$root/etc" "$root/etc/systemd" "$sys" "$att"; do
    [ ! -e "$path" ] || [ -w "$path" ] || etc=readonly
  done
  say "etc=$etc"
  probe_squashfs
  [ -z "$ports" ] || probe_ports
  for tool in $tools; do
    command -v "$tool" >/dev/null 2>&1 || say "missing=$tool"
  done
  probe_check
  also=multipathd.service${nl}udisks2.service
  for tool in $data_tools; do
    command -v "$tool" >/dev/null 2>&1 || say "data_missing=$tool"
  done
  look
  check_foreign
  finish done
}

probe_squashfs() {
  while read -r line; do
    case $line in *squashfs)
      say squashfs=yes
      return 0
      ;;
    esac
  done <"$root/proc/filesystems"
  locked=0
  [ ! -r /proc/sys/kernel/modules_disabled ] || read -r locked </proc/sys/kernel/modules_disabled
  [ "$locked" = 0 ] || return 0
  # A dry run: it names the module, or what the configuration runs in its place (hardening guides put false there).
  plan=$(modprobe -n -v squashfs 2>/dev/null) || return 0
  case $plan in
    *install\ *) ;;
    *) say squashfs=yes ;;
  esac
}

# Sets `version` to "systemd 252…". Out of the name of its library where there is exactly one: starting systemctl only
# for that costs more than the rest of the probe.
find_version() {
  set +f
  set -- "$root"/usr/lib/systemd/libsystemd-shared-*.so "$root"/usr/lib/*/systemd/libsystemd-shared-*.so \
    "$root"/lib/systemd/libsystemd-shared-*.so "$root"/usr/lib64/systemd/libsystemd-shared-*.so
  set -f
  version=
  for path; do
    [ -e "$path" ] || continue
    name=${path##*/libsystemd-shared-}
    case $version in
      '' | "systemd ${name%.so}") version="systemd ${name%.so}" ;;
      *) version=several && break ;;
    esac
  done
  case $version in
    'systemd '[1-9][0-9][0-9]*) ;;
    *) version=$(systemctl --version 2>/dev/null) ;;
  esac
}

# The listening sockets (state 0A) of the kernel's tables at one of our ports.
probe_ports() {
  tables=
  for table in "$root/proc/net/tcp" "$root/proc/net/tcp6"; do
    [ ! -r "$table" ] || tables=$tables$table$nl
  done
  [ -n "$tables" ] || return 0
  if command -v grep >/dev/null 2>&1; then
    lines=$(grep -hE ":($ports) [0-9A-F]+:0000 0A " $tables)
  else
    lines=$(for table in $tables; do
      while IFS= read -r line; do
        case $line in *' 0A '*) say "$line" ;; esac
      done <"$table"
    done)
  fi
  for line in $lines; do
    say "listen=$line"
  done
}
