/** What a person is told who ends the agent: null for one that was in no mesh yet, and has nothing to hand over. */
export function leaveSentence(handedOver: boolean | null, running: number, hostsGitlab: boolean): string {
  if (handedOver === null) return 'this agent ends; it was in no mesh yet';
  const jobs = running === 1 ? '1 job waits' : `${running} jobs wait`;
  const rest = running > 0 ? `; ${jobs} here, frozen, for the agent to come back within a minute` : '';
  const gitlab = hostsGitlab ? '; GitLab serves on for 4 s, then it stands still here until the agent is back' : '';
  return `${handedOver ? 'handed over; this agent ends' : 'ends without a hand-over'}${rest}${gitlab}`;
}
