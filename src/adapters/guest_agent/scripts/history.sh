main() {
  look
  look_back
  finish done
}

# Whether every unit is up, by what was listed.
all_up() {
  for unit in $unit_names; do
    up=
    for line in $out; do
      IFS=' '
      set -- $line
      IFS=$nl
      [ "$1" != "$unit" ] || [ "$3" != active ] || up=yes
    done
    [ -n "$up" ] || return 1
  done
}

# Prints what tells a stop from a reboot: whether it was up since the boot, and whether the guest is on its way up or
# down. Only of a copy that is there: of a guest without one nothing is asked.
look_back() {
  [ -n "$own" ] || return 0
  [ ! -f "$run/$service.up" ] || say was_up=yes
  all_up && return 0
  say "system=$(systemctl is-system-running 2>/dev/null)"
  # A unit that is linked to its disk stays in memory when it goes down, and with it when it was up.
  [ -n "$found_links" ] && [ ! -f "$run/$service.up" ] || return 0
  case $(systemctl show -p ActiveEnterTimestampMonotonic -- $unit_names 2>/dev/null) in
    *=[1-9]*) say was_up=yes ;;
  esac
}
