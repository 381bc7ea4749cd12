main() {
  begin
  survey
  umask 022
  find_masks
  if [ -n "$masks" ]; then
    rm -f -- $masks || fail "a mask cannot be removed"
    list
    any_load masked && reload
    listed= out=
  fi
  if [ "$wanted" = enabled ]; then
    make_links
  else
    drop_links
  fi
  settle
  startable=
  for unit in $unit_names; do
    runs_ours "$unit" && startable=$startable$unit$nl
  done
  if [ -n "$startable" ]; then
    wait_device
    check_data_mount
    if timeout "$limit" systemctl start -- $startable; then
      : >|"$run/$service.up"
      [ "$startable" != "$unit_names$nl" ] || find_running
    else
      why=$(systemctl show -p LoadState,Result -- $startable "$mount_unit" 2>/dev/null)
      again=
      case $why in *Result=start-limit-hit*) systemctl reset-failed -- $startable "$mount_unit" && again=yes ;; esac
      case $why in *LoadState=not-found*) systemctl daemon-reload && again=yes ;; esac
      [ -z "$again" ] || ! timeout "$limit" systemctl start -- $startable || : >|"$run/$service.up"
    fi
  fi
  # Nobody asks for the files' contents now, and the service wants the processor for its own start.
  unsummed=yes
  look
  finish done
}

# Sets `out` as `list` would, from the kernel's own account: systemd has just said that all units are up, and each has
# processes now. Where that is not so of each (another type, another slice, ended meanwhile), systemd is asked; that is
# the dearest question of all while a service starts.
find_running() {
  seen=
  for unit in $unit_names; do
    case $unit in
      *[!a-zA-Z0-9:._-]*) return 0 ;;
      *.service) ;;
      *) return 0 ;;
    esac
    events=$root/sys/fs/cgroup/system.slice/$unit/cgroup.events
    [ -r "$events" ] || return 0
    populated=0
    while IFS=' ' read -r key value; do
      [ "$key" != populated ] || populated=$value
    done <"$events"
    [ "$populated" = 1 ] || return 0
    seen="$seen$unit loaded active running$nl"
  done
  out=$seen listed=yes
}
