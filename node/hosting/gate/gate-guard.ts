import { readFileSync, readlinkSync } from 'node:fs';
import { spawnClean } from '../../clean-spawn.ts';
import { processesOfUid } from '../../executors/run-processes.ts';
import { toolEnv } from '../system-tools.ts';

/**
 * Nobody but the gate reaches GitLab's container (SAFETY H1): no other process of this machine, root's included, no job, no
 * container of another network, nobody who has a route to it. By the bridge of the container's own network, whose name we
 * give: so the rules stand before anything is behind it, hold for IPv6 too, and outlive engine and agent. By the gate's
 * user, which is the same in both versions of control groups.
 */
export interface Guard {
  /** The table's name. */
  table: string;
  bridge: string;
  /** The gate's user. */
  uid: number;
}

const isName = (text: string): boolean => /^[a-z][a-z0-9_-]{0,14}$/.test(text);

/**
 * One transaction: there is no moment without a guard. Only the way there is watched (`ct direction original`): GitLab's own
 * connections to the LAN, webhooks among them, get their answers.
 */
export function guardRules({ table, bridge, uid }: Guard): string {
  if (!isName(table) || !isName(bridge) || !Number.isSafeInteger(uid) || uid <= 0)
    throw new Error(`not a guard: table ${table}, bridge ${bridge}, user ${uid}`);
  return `table inet ${table} {}
delete table inet ${table}
table inet ${table} {
  chain of_this_machine {
    type filter hook output priority -10; policy accept;
    oifname "${bridge}" ct direction original meta skuid != ${uid} counter reject
  }
  chain of_others {
    type filter hook forward priority -10; policy accept;
    oifname "${bridge}" ct direction original counter reject
  }
}
`;
}

const limits = { nftMs: 10_000, outputBytes: 1 << 20 } as const;

/** Beside the agent's loop, never in its way: it is asked every two seconds. */
function nft(args: string[], input = ''): Promise<string> {
  return new Promise((done, failed) => {
    const child = spawnClean('nft', args, { stdio: 'pipe', env: toolEnv });
    const late = setTimeout(() => child.kill('SIGKILL'), limits.nftMs);
    const said = { out: '', err: '' };
    const take = (name: 'out' | 'err') => (chunk: Buffer) => {
      if (said[name].length < limits.outputBytes) said[name] += chunk.toString('utf8');
    };
    child.stdout?.on('data', take('out'));
    child.stderr?.on('data', take('err'));
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
    child.on('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(late);
      failed(error.code === 'ENOENT' ? new MissingNft() : error);
    });
    child.on('close', (code, signal) => {
      clearTimeout(late);
      if (code === 0) done(said.out);
      else failed(new Error(`nft ${args.join(' ')}: ${signal ?? said.err.trim().split('\n')[0]}`));
    });
  });
}

/** nftables is not installed. */
export class MissingNft extends Error {}

/** As nft of this machine lists what was set, by its table; of a process that has set nothing yet none is known. */
const asSet = new Map<string, string>();

/** A table as nft lists it, without what passed: rules in another order, one more before them, another hook or a sleeping table is another text. */
const withoutCounts = (listing: string): string =>
  listing.replace(/\bcounter packets \d+ bytes \d+/g, 'counter').trim();

const listed = async ({ table }: Guard): Promise<string> =>
  withoutCounts(await nft(['-n', 'list', 'table', 'inet', table]));

export async function setGuard(guard: Guard): Promise<void> {
  await nft(['-f', '-'], guardRules(guard));
  asSet.set(guard.table, `${guardRules(guard)}${await listed(guard)}`);
}

/** Whether it stands as it was set: looked at again and again, as a person may flush all rules. Who has set none yet sets them anew. */
export async function isGuarded(guard: Guard): Promise<boolean> {
  try {
    const now = await listed(guard);
    return asSet.get(guard.table) === `${guardRules(guard)}${now}`;
  } catch (error) {
    if (error instanceof MissingNft) throw error;
    return false;
  }
}

/** When nothing is behind it any more. */
export const dropGuard = ({ table }: Guard): Promise<void> =>
  nft(['-f', '-'], `table inet ${table} {}\ndelete table inet ${table}\n`).then(() => undefined);

/**
 * Who else is the gate's user: whoever is gets past the guard. Null when nobody is. A process with a network of its own is on
 * the other side of the rules, so that no job's image ends GitLab by its number.
 */
export function othersOfUser(uid: number, gates: readonly number[]): string | null {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((one) => Number(one.split(':')[2]) === uid);
  if (line !== undefined) return `the user ${line.split(':')[0]}`;
  const own = networkOf(process.pid);
  const stranger = processesOfUid(uid).find(({ pid }) => !gates.includes(pid) && networkOf(pid) === own);
  return stranger === undefined ? null : `process ${stranger.pid}`;
}

function networkOf(pid: number): string | null {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return null;
  }
}
