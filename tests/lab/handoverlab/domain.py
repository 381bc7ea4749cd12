"""Domain XML of a lab guest, with the options that make odd guests."""

from dataclasses import dataclass
from pathlib import Path

from . import settings

BRIDGE = "br0"

# What makes a guest's kernel slower under TCG: rep movsb is done byte by byte (erms: a third of the
# boot time), random numbers are system calls of QEMU, page tables get deeper.
SLOW_UNDER_TCG = ("erms", "fsrm", "la57", "smap", "smep", "rdrand", "rdseed")


@dataclass(frozen=True)
class Guest:
    """What a guest is made of. The defaults are an ordinary guest."""

    name: str
    host: str
    suite: str = "bookworm"
    memory_mib: int = 384
    vcpus: int = 1
    scsi: bool = True
    agent: bool = True
    transient: bool = False
    readonly_etc: bool = False
    extra_cmdline: str = ""
    image: str = ""
    on_crash: str = "destroy"

    @property
    def uuid(self) -> str:
        return settings.stable_uuid("guest", self.name)

    @property
    def address(self) -> str:
        return settings.guest_address(self.name)

    @property
    def disk(self) -> Path:
        return settings.STATE / "guests" / f"{self.name}.qcow2"

    def console(self) -> Path:
        """The serial console's log as seen from outside the host."""
        return settings.node_state(self.host) / "log" / "libvirt" / "qemu" / f"{self.name}-console.log"


def xml(guest: Guest) -> str:
    """The domain as libvirt is asked to define it."""
    image = guest.image
    kvm = settings.ACCEL == "kvm"
    if kvm:
        cpu = "<cpu mode='host-passthrough'/>"
    elif guest.suite == "trixie":
        # Kernel 6.12 oopses under QEMU 7.2's TCG with the maximum model.
        cpu = "<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>Nehalem</model></cpu>"
    else:
        features = "".join(f"<feature policy='disable' name='{name}'/>" for name in SLOW_UNDER_TCG)
        cpu = f"<cpu mode='maximum'>{features}</cpu>"
    cmdline = ("root=/dev/vda rootfstype=ext4 rw console=ttyS0 net.ifnames=0 mitigations=off "
               "fsck.mode=skip nowatchdog audit=0 panic=-1 quiet loglevel=4 systemd.show_status=auto "
               f"systemd.hostname={guest.name} lab.ip={guest.address}/24")
    if guest.readonly_etc:
        cmdline += " lab.readonly_etc"
    if guest.extra_cmdline:
        cmdline += f" {guest.extra_cmdline}"
    tcg = "" if kvm else "<tcg><tb-cache unit='MiB'>256</tb-cache></tcg>"
    scsi = "<controller type='scsi' index='0' model='virtio-scsi'/>" if guest.scsi else ""
    agent = ("<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
             if guest.agent else "")
    return f"""<domain type='{"kvm" if kvm else "qemu"}'>
  <name>{guest.name}</name>
  <uuid>{guest.uuid}</uuid>
  <memory unit='MiB'>{guest.memory_mib}</memory>
  <vcpu>{guest.vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{image}/vmlinuz</kernel>
    <initrd>{image}/initrd.img</initrd>
    <cmdline>{cmdline}</cmdline>
  </os>
  <features><acpi/><apic/>{tcg}</features>
  {cpu}
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>{guest.on_crash}</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <!-- Flushes count: tests kill QEMU, and what a guest has synced must be there after it. -->
      <driver name='qemu' type='qcow2' cache='writeback' discard='unmap'/>
      <source file='{guest.disk}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    {scsi}
    <controller type='virtio-serial' index='0'/>
    {agent}
    <interface type='bridge'>
      <mac address='{settings.guest_mac(guest.name)}'/>
      <source bridge='{BRIDGE}'/>
      <model type='virtio'/>
    </interface>
    <serial type='file'>
      <source path='/var/log/libvirt/qemu/{guest.name}-console.log' append='on'/>
      <target type='isa-serial' port='0'/>
    </serial>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='virtio'><stats period='5'/></memballoon>
    <video><model type='none'/></video>
  </devices>
</domain>
"""
