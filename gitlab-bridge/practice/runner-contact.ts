import { z } from 'zod';
import type { Call } from './api-call.ts';
import type { PracticeContext } from './practice-context.ts';
import type { State } from './practice-state.ts';
import type { Manager, Runner } from './records.ts';
import { refuse } from './refusal.ts';
import { sameSecret } from './secrets.ts';

const short = z.string().max(255).nullish();

/** `info` of a runner; what we do not know is let through and forgotten. */
export const runnerInfo = z.looseObject({
  name: short,
  version: short,
  revision: short,
  platform: short,
  architecture: short,
  executor: short,
  features: z.record(z.string(), z.unknown()).nullish(),
});
type RunnerInfo = z.infer<typeof runnerInfo>;

export const systemId = z.string().max(64).nullish();

/** The runner of a token (body or RUNNER-TOKEN), or 403. Counts as contact. */
export const runnerOf = (context: PracticeContext, call: Call, token: string | undefined): Runner => {
  const header = call.headers['runner-token'];
  const used = token ?? (typeof header === 'string' ? header : '');
  const runner = context.state.runnerOfToken(used);
  if (runner === undefined || !sameSecret(runner.token, used)) throw refuse(403);
  if (context.faults.backoff > 0) {
    context.faults.backoff -= 1;
    throw refuse(429, undefined, { 'Retry-After': '60' });
  }
  return runner;
};

/** Writes down that a runner was heard, and on which machine (`system_id`). */
export const contact = (
  state: State,
  runner: Runner,
  call: Call,
  system: string | null | undefined,
  info: RunnerInfo | null | undefined,
): Manager | null => {
  const now = state.clock.now();
  // GitLab writes contacted_at only every 40–55 min; a minute is enough here to keep the journal small.
  if (runner.contactedAt === null || now - runner.contactedAt > 60_000) {
    runner.contactedAt = now;
    state.saveRunner(runner);
  }
  if (system == null || system === '') return null;
  let manager: Manager | undefined;
  for (const one of state.managers()) if (one.runnerId === runner.id && one.systemId === system) manager = one;
  const told = {
    version: info?.version ?? manager?.version ?? null,
    revision: info?.revision ?? manager?.revision ?? null,
    platform: info?.platform ?? manager?.platform ?? null,
    architecture: info?.architecture ?? manager?.architecture ?? null,
    executor: info?.executor ?? manager?.executor ?? null,
    ip: call.remote,
  };
  if (manager === undefined) {
    const id = state.newId('manager');
    manager = { id, runnerId: runner.id, systemId: system, ...told, createdAt: now, contactedAt: now };
  } else {
    const same = Object.entries(told).every(([key, value]) => manager?.[key as keyof Manager] === value);
    if (same && now - manager.contactedAt < 60_000) return manager;
    Object.assign(manager, told, { contactedAt: now });
  }
  state.saveManager(manager);
  return manager;
};

/** Names of the features that a runner declared as true. */
export const declared = (info: RunnerInfo | null | undefined): string[] =>
  Object.entries(info?.features ?? {})
    .filter(([, value]) => value === true)
    .map(([name]) => name)
    .slice(0, 100);
