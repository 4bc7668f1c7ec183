import { startsAgain } from '../machine/as-service.ts';

/** What a person is told who ends the agent: null for one that was in no mesh yet, and has nothing to hand over. `startedBy`: whose systemd starts it again. */
export function leaveSentence(
  handedOver: boolean | null,
  running: number,
  hostsGitlab: boolean,
  startedBy: 'system' | 'user' | null = null,
): string {
  const again = startedBy === null ? '' : `; ${startsAgain(startedBy)}`;
  if (handedOver === null) return `this agent ends; it was in no mesh yet${again}`;
  const jobs = running === 1 ? '1 job waits' : `${running} jobs wait`;
  const rest = running > 0 ? `; ${jobs} here, frozen, for the agent to come back within a minute` : '';
  const gitlab = hostsGitlab ? '; GitLab serves on for 4 s, then it stands still here until the agent is back' : '';
  return `${handedOver ? 'handed over; this agent ends' : 'ends without a hand-over'}${rest}${gitlab}${again}`;
}
