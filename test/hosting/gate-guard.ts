import { spawnCleanSync } from '../../node/clean-spawn.ts';

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

const nft = (args: string[], input = ''): string => {
  const { status, stdout, stderr, error } = spawnCleanSync('nft', args, { input, timeout: 10_000 });
  if (error) throw new Error(`the gate needs nftables (apt-get install nftables): ${error.message}`);
  if (status !== 0) throw new Error(`nft ${args.join(' ')}: ${stderr.trim().split('\n')[0]}`);
  return stdout;
};

export const setGuard = (guard: Guard): void => void nft(['-f', '-'], guardRules(guard));

/** Whether it stands as it was set: looked at before each lease, as a person may flush all rules. */
export function isGuarded({ table, bridge, uid }: Guard): boolean {
  try {
    const said = nft(['-n', 'list', 'table', 'inet', table]);
    const rules = said.split('\n').filter((line) => line.includes(`oifname "${bridge}"`) && line.includes('reject'));
    return rules.length === 2 && rules.some((line) => line.includes(`skuid != ${uid} `));
  } catch {
    return false;
  }
}
