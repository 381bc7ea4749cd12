# Sets `stoppable`: what may start others first, then the rest, then the mount. Foreign units are not in it.
find_stoppable() {
  first= rest=
  for unit in $unit_names $own; do
    [ "$unit" != "$mount_unit" ] || continue
    runs_ours "$unit" || continue
    case $unit in
      # Instances that a socket made of a template of ours. A backslash would be an escape in the pattern.
      *\\*@.*) continue ;;
      *@.*) unit=${unit%%@.*}@*.${unit##*.} ;;
    esac
    case $unit in
      *.socket | *.timer | *.path) has "$first" "$unit" || first=$first$unit$nl ;;
      *) has "$rest" "$unit" || rest=$rest$unit$nl ;;
    esac
  done
  stoppable=$first$rest
  ! runs_ours "$mount_unit" || stoppable=$stoppable$mount_unit$nl
}

stop() {
  survey
  drop_links
  find_stoppable
  [ -z "$stoppable" ] || timeout "$limit" systemctl stop -- $stoppable
}
