# Ends with what could not be removed still recorded, so that a repeat goes on where this one ended.
main() {
  begin
  survey
  find_links
  [ -z "$found_links" ] || rm -f -- $found_links
  find_stoppable
  up=
  # Whether a stop that succeeded left anything up, the look at the end tells: systemctl costs most of all here.
  stop_all || find_up
  if [ -n "$up" ]; then
    # Still up: its files stay, or nothing could stop it any more.
    look
    finish done
  fi
  find_masks
  doomed=$masks
  for path in $recorded_files; do
    ! exists "$root$path" || doomed=$doomed$root$path$nl
    # A script was killed before it gave the file its name.
    ! exists "$root$path.handoverd-new" || doomed=$doomed$root$path.handoverd-new$nl
  done
  [ -z "$doomed" ] || rm -f -- $doomed || fail "a file cannot be removed"
  doomed=$found_wants
  for path in $recorded_folders; do
    [ ! -d "$root$path" ] || doomed=$doomed$root$path$nl
  done
  # A folder that holds what is not ours stays.
  [ -z "$doomed" ] || rmdir -- $doomed 2>/dev/null
  doomed=
  for name in $own; do
    [ "$name" = "$mount_unit" ] || doomed=$doomed$att/$name$nl
    ! marked "$sys/$name" || doomed=$doomed$sys/$name$nl
    ! exists "$att/$name.handoverd-new" || doomed=$doomed$att/$name.handoverd-new$nl
  done
  [ -z "$doomed" ] || [ ! -f "$run/$service.up" ] || doomed=$doomed$run/$service.up$nl
  # The mount unit and the record are what makes the rest ours: last.
  ! has "$own" "$mount_unit" || doomed=$doomed$att/$mount_unit$nl
  ! exists "$record" || doomed=$doomed$record$nl
  if [ -n "$doomed" ]; then
    rm -f -- $doomed || fail "a unit file cannot be removed"
    # systemd does not ship the folder, and nothing else is in it.
    set +f
    set -- "$att"/*
    set -f
    exists "$1" || rmdir -- "$att" 2>/dev/null
  fi
  for unit in $stoppable; do
    has "$unit_names$nl$mount_unit$nl" "$unit" || also=$also$unit$nl
  done
  list
  # A failed unit stays in memory.
  ! any_failed || { systemctl reset-failed -- $stoppable 2>/dev/null && list; }
  # While the disk is there its device unit keeps ours in memory; they go with it, so that no reload is needed.
  [ -z "$doomed" ] || [ -e "$device" ] || reload_stale NeedDaemonReload=yes
  settle
  look
  finish done
}
