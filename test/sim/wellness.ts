import type { Ledger } from '../../protocol/ledger.ts';
import { isJoint } from './history.ts';
import type { World } from './world.ts';

/** One leads, and every agent knows it; else what is missing. */
export function notFollowed(world: World): string | null {
  const agents = world.agents();
  const leaders = agents.filter((agent) => agent.state.raft.leading !== null);
  if (leaders.length !== 1) return `${leaders.length} leaders`;
  const leader = leaders[0]!;
  const lost = agents.find((agent) => agent.state.raft.leader?.node !== leader.machine.id);
  return lost ? `${lost.life} does not know that ${leader.life} leads` : null;
}

/** What is still missing for a mesh in good order; null when nothing is. */
export function notYetWell(world: World): string | null {
  const { gitlab, history } = world;
  const agents = world.agents();
  const missing = notFollowed(world);
  if (missing !== null) return missing;
  // A busy loop that began before the world was healed may hold the leader up into the calm.
  const blocked = agents.find((agent) => agent.isBlocked);
  if (blocked) return `${blocked.life} is held up by a busy loop`;
  const { top } = history;
  if (!top || isJoint(top.configuration)) return 'a joint configuration';
  const { voters } = top.configuration;
  const members = Object.keys(top.ledger.nodes);
  const wanted = Math.min(7, members.length);
  if (Object.keys(voters).length !== wanted) return `${Object.keys(voters).length} voters instead of ${wanted}`;
  for (const { id, disk } of world.machines()) {
    if (!members.includes(id)) return `${id} is not in the mesh`;
    if (voters[id] && voters[id].store !== disk.store) return `${id} does not vote`;
  }
  const rolledBack = agents.find((agent) => agent.state.raft.rolledBack !== null);
  if (rolledBack) return `${rolledBack.life} must not vote`;
  const behind = agents.find(({ state }) => !history.isAtLeast(state.raft.committed, top));
  if (behind) return `${behind.life} has not got ${top.key}`;
  const away = world.hosts ? notServed(world, top.ledger) : null;
  if (away) return away;
  // What a runner has that only a lost era knew ends when GitLab gives it up, after up to 90 min (SAFETY J3, L15).
  const runners = new Set(Object.values(top.ledger.classes).map(({ runner }) => runner));
  const isLost = (runner: number | null): boolean => top.ledger.era.counter > 0 && !runners.has(runner);
  for (const job of gitlab.jobs.values())
    if (((job.status === 'running' || job.status === 'canceling') && !isLost(job.runner)) || job.status === 'pending')
      return `job ${job.id} (${job.tags}) is ${job.status}${job.systemId ? ` on ${job.systemId}` : ''}`;
  const open = Object.values(top.ledger.runs).find((run) => ['taken', 'running', 'finished'].includes(run.state));
  return open ? `the ledger still shows ${open.run} as ${open.state}` : null;
}

/** The mesh's own GitLab is where the ledger says, and lets people in. */
function notServed(world: World, { gitlab }: Ledger): string | null {
  if (gitlab.mode !== 'hosted' || gitlab.url === null || gitlab.hosted?.ending)
    return `GitLab is ${gitlab.mode}, and not there`;
  const host = world.hasMachine(gitlab.host ?? '') ? world.machine(gitlab.host!) : null;
  const now = host?.hosted.passage;
  return now?.kind === 'open' && now.epoch === gitlab.epoch ? null : `${gitlab.host} does not serve GitLab`;
}
