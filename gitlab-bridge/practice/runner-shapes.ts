import { iso, isoOrNull } from './practice-clock.ts';
import type { State } from './practice-state.ts';
import { projectIdentity } from './project-shapes.ts';
import type { Manager, Runner } from './records.ts';

const onlineMs = 2 * 3_600_000;
const staleMs = 7 * 86_400_000;

export const runnerStatus = (contactedAt: number | null, createdAt: number, now: number): string => {
  if (contactedAt === null) return now - createdAt > staleMs ? 'stale' : 'never_contacted';
  if (now - contactedAt < onlineMs) return 'online';
  return now - contactedAt > staleMs ? 'stale' : 'offline';
};

const newestManager = (state: State, runner: Runner): Manager | null => {
  let newest: Manager | null = null;
  for (const manager of state.managers())
    if (manager.runnerId === runner.id && (newest === null || manager.contactedAt > newest.contactedAt))
      newest = manager;
  return newest;
};

/** API::Entities::Ci::Runner. */
export const runnerShape = (state: State, runner: Runner): Record<string, unknown> => {
  const status = runnerStatus(runner.contactedAt, runner.createdAt, state.clock.now());
  return {
    id: runner.id,
    description: runner.description,
    ip_address: newestManager(state, runner)?.ip ?? null,
    active: !runner.paused,
    paused: runner.paused,
    is_shared: runner.type === 'instance_type',
    runner_type: runner.type,
    name: newestManager(state, runner) === null ? null : 'gitlab-runner',
    online: status === 'online',
    created_at: iso(runner.createdAt),
    status,
  };
};

/** API::Entities::Ci::RunnerDetails. */
export const runnerDetails = (state: State, runner: Runner, base: string): Record<string, unknown> => {
  const manager = newestManager(state, runner);
  const projects = runner.projectIds.map((id) => state.project(id)).filter((project) => project !== undefined);
  return {
    ...runnerShape(state, runner),
    tag_list: runner.tags,
    run_untagged: runner.runUntagged,
    locked: runner.locked,
    maximum_timeout: runner.maximumTimeout,
    access_level: runner.accessLevel,
    version: manager?.version ?? null,
    revision: manager?.revision ?? null,
    platform: manager?.platform ?? null,
    architecture: manager?.architecture ?? null,
    contacted_at: isoOrNull(runner.contactedAt),
    maintenance_note: runner.maintenanceNote,
    projects: projects.map((project) => projectIdentity(state, project, base)),
    groups: [],
  };
};

/** API::Entities::Ci::RunnerManager. */
export const managerShape = (state: State, manager: Manager): Record<string, unknown> => ({
  id: manager.id,
  system_id: manager.systemId,
  version: manager.version,
  revision: manager.revision,
  platform: manager.platform,
  architecture: manager.architecture,
  created_at: iso(manager.createdAt),
  contacted_at: iso(manager.contactedAt),
  ip_address: manager.ip,
  status: runnerStatus(manager.contactedAt, manager.createdAt, state.clock.now()),
});
