# Ends with what could not be removed still recorded, so that a repeat goes on where this one ended.
main() {
  begin
  stop
  if [ -n "$stoppable" ]; then
    states=$(systemctl list-units --all --plain --no-legend --full -- $stoppable 2>/dev/null) ||
      fail 'systemd does not answer'
    for line in $states; do
      IFS=' '
      set -- $line
      IFS=$nl
      case $3 in
        inactive) ;;
        failed) failed=yes ;;
        *)
          # Still up: its files stay, or nothing could stop it any more.
          look
          finish done
          ;;
      esac
    done
    # A failed unit stays in memory.
    [ -z "$failed" ] || systemctl reset-failed -- $stoppable 2>/dev/null
    failed=
  fi
  find_masks
  doomed=$masks
  for path in $recorded_files; do
    ! exists "$root$path" || doomed=$doomed$root$path$nl
  done
  [ -z "$doomed" ] || rm -f -- $doomed || fail "a file cannot be removed"
  doomed=
  for path in $recorded_folders; do
    [ ! -d "$root$path" ] || doomed=$doomed$root$path$nl
  done
  # A folder that holds what is not ours stays.
  [ -z "$doomed" ] || rmdir -- $doomed 2>/dev/null
  doomed=
  for name in $own; do
    [ "$name" = "$mount_unit" ] || doomed=$doomed$att/$name$nl
    ! marked "$sys/$name" || doomed=$doomed$sys/$name$nl
  done
  # The mount unit and the record are what makes the rest ours: last.
  ! has "$own" "$mount_unit" || doomed=$doomed$att/$mount_unit$nl
  ! exists "$record" || doomed=$doomed$record$nl
  if [ -n "$doomed" ]; then
    rm -f -- $doomed || fail "a unit file cannot be removed"
    list
    reload_stale NeedDaemonReload=yes
  fi
  look
  finish done
}
