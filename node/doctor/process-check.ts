import { statSync } from 'node:fs';
import { type ProcessAbilities, processAbilities, sayAbilities } from '../executors/process-abilities.ts';
import { asRootService } from '../machine/as-service.ts';
import { recallJoin } from '../store/join-memory.ts';
import { type Finding, finding } from './finding.ts';

const hint = (): string =>
  `let the agent run as root, on a kernel with control groups for memory, pids and cpu: ${asRootService()}`;

/** What this machine cannot do about jobs of the process executor; nothing where that was not switched on. */
export async function checkProcess(home: string): Promise<Finding[]> {
  const { executors, user } = recallJoin(home);
  if (![executors?.value ?? []].flat().includes('process')) return [];
  const asked = process.getuid?.() ?? 0;
  const agent = statSync(home, { throwIfNoEntry: false })?.uid ?? asked;
  return [processFinding([user?.value ?? []].flat()[0] ?? null, await processAbilities(), { agent, asked })];
}

/** `uids`: the agent's, and of who asks: only what this one can do was tried. */
export function processFinding(
  user: string | null,
  can: ProcessAbilities,
  uids: { agent: number; asked: number },
): Finding {
  const jobs =
    user === null
      ? 'jobs are the agent’s own user'
      : `jobs are ${/^auto(:|$)/.test(user) ? 'a user of their own each' : user}`;
  const as =
    uids.agent === uids.asked
      ? ''
      : ` (as tried by uid ${uids.asked}; the agent is uid ${uids.agent}: ask as that one)`;
  const said = sayAbilities(can);
  return said.length === 0
    ? finding('process', 'ok', `${jobs}, limited and held together by control groups${as}`)
    : finding('process', 'warn', `${jobs}, and ${said.join(', and ')}${as}`, hint());
}
