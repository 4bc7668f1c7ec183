import { type Mutant, one } from './mutant.ts';

const hosting = (file: string): string => `scheduler/hosting/${file}.ts`;
const planted = (name: string, rule: string, file: string, find: string, replace: string): Mutant =>
  one(name, rule, hosting(file), find, replace, 'hosts');
const confirmed = 'lead.asks.filter((one) => contactAt > one.at)';
const waits = 'Math.max(hosting.lead.since, hosting.lead.givenAt) + hostingTimings.waitMs';

/** Who may serve the mesh's own GitLab (SAFETY H5 to H7). */
export const hostingMutants: Mutant[] = [
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
  planted('no drift in the wait', 'H7', 'hosting-timings', 'waitMs: 5_000', 'waitMs: 4_000'),
];
