//! The calls that a daemon makes into the simulated world.

/// Which call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// `Hypervisor::guests` and `Watching::roll_call`.
    Guests,
    /// `Hypervisor::inspect`.
    Inspect,
    /// `Hypervisor::everywhere`.
    Everywhere,
    /// `Hypervisor::claim_guest`.
    ClaimGuest,
    /// `Hypervisor::destroy`.
    Destroy,
    /// `Heartbeat::pulse`.
    Pulse,
    /// `Hypervisor::give`.
    Give,
    /// `Hypervisor::take`.
    Take,
    /// `Hypervisor::add_scsi_controller`.
    AddController,
    /// `Hypervisor::image`.
    Image,
    /// `Hypervisor::store_image` and `copy_image`.
    StoreImage,
    /// `Hypervisor::delete_image`.
    DeleteImage,
    /// `Hypervisor::make_grant`.
    MakeGrant,
    /// `Hypervisor::spent_grants` and `grants`.
    Grants,
    /// `Hypervisor::delete_spent_grants`.
    DeleteGrants,
    /// `Hypervisor::volume`.
    Volume,
    /// `Hypervisor::make_volume`.
    MakeVolume,
    /// `Hypervisor::delete_volume`.
    DeleteVolume,
    /// `HostGauges::counters`.
    Counters,
    /// `GuestGauges::vitals`.
    Vitals,
    /// `Guest::agent`.
    Agent,
    /// `Guest::addresses`.
    Addresses,
    /// `Guest::probe`.
    Probe,
    /// `Guest::look`.
    Look,
    /// `Guest::act`.
    Act,
    /// `Guest::check`.
    Check,
    /// `NameServer::read`.
    ReadName,
    /// `NameServer::read_everywhere`.
    ReadEverywhere,
    /// `NameServer::swap`.
    Swap,
    /// A `Table` method that reads.
    ReadTable,
    /// `Table::begin`.
    Begin,
    /// `Table::save`.
    Save,
    /// `Table::commit` and `forget`.
    Commit,
    /// `Table::finish`.
    Finish,
    /// `Table::next_attempt`.
    NextAttempt,
    /// `Table::fulfil`.
    Fulfil,
    /// `Table::postpone`.
    Postpone,
    /// `Table::observe`.
    Observe,
    /// A `StandbyTable` method that writes.
    Standby,
    /// `Table::put_bundle` and `audit`.
    Note,
}

impl Method {
    /// Whether it changes something.
    pub fn is_effect(self) -> bool {
        !matches!(
            self,
            Self::Guests
                | Self::Inspect
                | Self::Everywhere
                | Self::Pulse
                | Self::Image
                | Self::Grants
                | Self::Volume
                | Self::Counters
                | Self::Vitals
                | Self::Agent
                | Self::Addresses
                | Self::Probe
                | Self::Look
                | Self::Check
                | Self::ReadName
                | Self::ReadEverywhere
                | Self::ReadTable
        )
    }

    /// Whether it is the service table's.
    pub fn is_table(self) -> bool {
        matches!(
            self,
            Self::ReadTable
                | Self::Begin
                | Self::Save
                | Self::Commit
                | Self::Finish
                | Self::NextAttempt
                | Self::Fulfil
                | Self::Postpone
                | Self::Observe
                | Self::Standby
                | Self::Note
        )
    }
}
