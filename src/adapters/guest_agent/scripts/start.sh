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
  startable=
  for unit in $unit_names; do
    runs_ours "$unit" && startable=$startable$unit$nl
  done
  if [ -n "$startable" ]; then
    wait_device
    check_data_mount
    if ! timeout "$limit" systemctl start -- $startable; then
      why=$(systemctl show -p LoadState,Result -- $startable "$mount_unit" 2>/dev/null)
      again=
      case $why in *Result=start-limit-hit*) systemctl reset-failed -- $startable "$mount_unit" && again=yes ;; esac
      case $why in *LoadState=not-found*) systemctl daemon-reload && again=yes ;; esac
      [ -z "$again" ] || timeout "$limit" systemctl start -- $startable
    fi
  fi
  # Nobody asks for the files' contents now, and the service wants the processor for its own start.
  unsummed=yes
  look
  finish done
}
