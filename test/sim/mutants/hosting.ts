import { hosting, type Mutant, one, plantedIn } from './mutant.ts';

const planted = plantedIn(hosting, 'hosts');
const confirmed = 'lead.asks.filter((one) => contactAt > one.at)';
const waits = 'Math.max(hosting.lead.since, hosting.lead.givenAt) + hostingTimings.waitMs';

/** Of the parts of node/hosting that decide, and of the watchdog. */
const onTheHost = plantedIn((file) => `node/${file}.ts`, 'hosts');
const lease = 'hosting/gate/gate-lease';
const steps = 'hosting/move/move-steps';

/** What a host's machine does with its lease (SAFETY H1 to H4, H8). */
const hostMutants: Mutant[] = [
  onTheHost('gate open when its lease is out', 'H1', lease, 'if (nowMs >= lease.until)', 'if (false)'),
  onTheHost(
    'lease of another boot counts',
    'H1',
    lease,
    'lease === null || lease.bootId !== bootId',
    'lease === null',
    'rebootedHosts',
  ),
  onTheHost(
    'closed gate opens again',
    'H1',
    lease,
    'return read.epoch === had.epoch && had.until <= 0 && read.until > 0 ? had : read;',
    'return read;',
  ),
  onTheHost(
    'frozen GitLab is not thawed',
    'H2',
    'watchdog/watchdog-beat',
    'frozen.has(run.run) && run.held !== true',
    'frozen.has(run.run) && run.held !== true && run.isService !== true',
  ),
  onTheHost(
    'GitLab that stands still is taken for dead',
    'H2',
    'hosting/gitlab-state',
    'return stay({ ...notCounting(life, passedMs), because: standsStill });',
    'return repair(withFault(life, standsStill, look.nowMs), look);',
    'sleepingHosts',
  ),
  onTheHost(
    'GitLab is not frozen',
    'H3',
    'watchdog/watchdog-beat',
    'nowMs > run.until && !frozen.has(run.run)',
    'nowMs > run.until && !frozen.has(run.run) && run.isService !== true',
  ),
  onTheHost(
    'GitLab frozen a lease too late',
    'H3',
    'watchdog/watchdog-beat',
    'nowMs > run.until && !frozen.has(run.run)',
    'nowMs > run.until + 4000 && !frozen.has(run.run)',
  ),
  // The product's clock is the kernel's (node/clock.ts, test/unit/small-parts.test.ts): this one is the simulation's own.
  {
    name: 'clock stands still in suspend',
    rule: 'H4',
    hunt: 'sleepingHosts',
    patches: [
      {
        file: 'test/sim/machine.ts',
        find: 'return Math.floor((this.#world.now - this.#bootedAt) * this.rate);',
        replace: 'return Math.floor((this.#world.now - this.#bootedAt - this.sleptMs) * this.rate);',
      },
      {
        file: 'test/sim/machine.ts',
        find: 'resumedAt = Number.NEGATIVE_INFINITY;',
        replace: 'resumedAt = Number.NEGATIVE_INFINITY;\n  sleptMs = 0;\n  asleepAt = 0;',
      },
      {
        file: 'test/sim/world.ts',
        find: "machine.power = 'suspended';",
        replace: "machine.power = 'suspended';\n    machine.asleepAt = this.now;",
      },
      {
        file: 'test/sim/world.ts',
        find: 'machine.resumedAt = this.now;',
        replace: 'machine.resumedAt = this.now;\n    machine.sleptMs += this.now - machine.asleepAt;',
      },
    ],
  },
  onTheHost(
    'container of an earlier epoch is left',
    'H8',
    'hosting/other-services',
    'data === right.data && epoch === right.epoch && host',
    'data === right.data && host',
  ),
  onTheHost(
    'nothing is ended where nothing is hosted',
    'H8',
    'hosting/other-services',
    '!(right !== null && data',
    '!(right === null || data',
  ),
  onTheHost(
    'a machine that is behind ends its GitLab',
    'H8',
    'hosting/other-services',
    'kept.epoch >= epochAfter(ledger) && kept.mesh',
    'false && kept.mesh',
    'failingHosts',
  ),
];

/** Who may serve the mesh's own GitLab (SAFETY H5 to H7), and what an epoch begins with (H7, H10). */
export const hostingMutants: Mutant[] = [
  ...hostMutants,
  planted(
    'lease given because contact is fresh',
    'H5',
    'lease-giving',
    `const confirmed = ${confirmed};`,
    'const confirmed = lead.asks.filter(() => at - contactAt < 1000);',
  ),
  planted(
    'a host that leads waits for no round',
    'H5',
    'lease-giving',
    `const confirmed = ${confirmed};`,
    'const confirmed = lead.asks.filter((one) => contactAt > one.at || (one.from === context.self && at - contactAt < 1000));',
  ),
  planted(
    'lease counted from receipt',
    'H5',
    'host-lease',
    'const until = ask.at + hostingTimings.leaseMs;',
    'const until = turn.at + hostingTimings.leaseMs;',
  ),
  // Followers answer rounds before their slow disks have the ledger of the term.
  one(
    'lease given before the re-stamp is committed',
    'H6',
    hosting('lease-giving'),
    'if (!context.mayAct || newest === null',
    'if (newest === null',
    'slowHosts',
  ),
  {
    name: 'lease given while another host is proposed',
    rule: 'H6',
    hunt: 'hosts',
    patches: [
      {
        file: hosting('lease-giving'),
        find: 'const [newest, committed] = [hostingOf(context.ledger), hostingOf(context.committed)];',
        replace: 'const [newest, committed] = [hostingOf(context.committed), hostingOf(context.committed)];',
      },
      {
        file: hosting('lease-giving'),
        find: '= hostingOf(context.ledger)!;',
        replace: '= hostingOf(context.committed)!;',
      },
    ],
  },
  planted(
    'lease given while it is taken down',
    'H7',
    'lease-giving',
    ' || newest.ending?.drained) return false;',
    ') return false;',
  ),
  planted('no wait before an epoch ends', 'H7', 'lease-giving', waits, 'at'),
  planted(
    'no wait since the own election',
    'H7',
    'lease-giving',
    waits,
    'hosting.lead.givenAt + hostingTimings.waitMs',
  ),
  planted(
    'no wait since the own last lease',
    'H7',
    'lease-giving',
    waits,
    'hosting.lead.since + hostingTimings.waitMs',
  ),
  planted(
    'closed epoch is served again',
    'H7',
    'host-lease',
    'return found.epoch > Math.max(hosting.closed, hosting.closing?.epoch ?? 0) ? found : null;',
    'return found;',
  ),
  planted('restore goes on in its epoch', 'H7', 'vault-edits', '      epoch: epochOfMarked(ledger, marks),\n', ''),
  planted(
    'restore keeps who was in sync',
    'H10',
    'vault-edits',
    '{ copies: emptied(hosted.copies) }',
    '{ copies: hosted.copies }',
    'calmHosts',
  ),
  one(
    'recovery by force keeps who was in sync',
    'H10',
    'scheduler/raft/recovery.ts',
    'return copies ? gitlabWithCopies(gitlab, emptied(copies)) : gitlab;',
    'return gitlab;',
    'recoveredHosts',
  ),
  planted(
    'move goes on in its epoch',
    'H7',
    'move-edits',
    'const epoch = epochAfter(ledger);',
    'const { epoch } = gitlab;',
    'movingHosts',
  ),
  planted(
    'new host is in sync with itself',
    'H10',
    'move-edits',
    'standbys.some((one) => one.node === node)',
    'node.length > 0',
    'movingHosts',
  ),
  planted(
    'move begins with another round',
    'H10',
    'move-edits',
    'withBase(copies.bases, epoch, base)',
    'withBase(copies.bases, epoch, { ...base, number: base.number - 1 })',
    'movingHosts',
  ),
  planted(
    'no wait before a move is taken back',
    'H7',
    'lease-giving',
    'heardAt + hostingTimings.waitMs + (isInVain ? 0 : ledger.settings.graceMs)',
    'Math.min(at, heardAt + hostingTimings.renewMs)',
    'movingHosts',
  ),
  onTheHost(
    'moved before the gate is closed',
    'H7',
    steps,
    "  if (!look.isClosed) return { kind: 'close' };\n  if (!look.hasEnded)",
    '  if (!look.hasEnded)',
    'movingHosts',
  ),
  onTheHost(
    'moved before the last round is there',
    'H10',
    steps,
    'return look.hasArrived ?',
    'return look.last ?',
    'movingHosts',
  ),
  onTheHost(
    'last round before the gate is closed',
    'H10',
    steps,
    "  if (!look.isClosed) return { kind: 'close' };\n  if (!look.hasEnded) return { kind: 'end' };\n  if (look.last === null) return { kind: 'round' };",
    "  if (look.last === null) return { kind: 'round' };\n  if (!look.isClosed) return { kind: 'close' };\n  if (!look.hasEnded) return { kind: 'end' };",
    'movingHosts',
  ),
  onTheHost(
    'lets people in before it stands',
    'H7',
    steps,
    '=> move?.to === host;',
    '=> move?.to === host && move.from === host;',
    'movingHosts',
  ),
  onTheHost(
    'data of before are served',
    'H10',
    steps,
    'return marked === epoch || base',
    'return marked !== null || base',
    'lostHosts',
  ),
  onTheHost(
    'given up after it was said to stand',
    'H7',
    steps,
    "  if (look.isSaid) return { kind: look.works ? 'stands' : 'try' };\n",
    "  if (look.isSaid && vain === null) return { kind: look.works ? 'stands' : 'try' };\n",
    'movingHosts',
  ),
  planted('no drift in the wait', 'H7', 'hosting-timings', 'waitMs: 5_000', 'waitMs: 4_000'),
];
