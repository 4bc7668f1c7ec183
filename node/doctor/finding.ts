type FindingState = 'ok' | 'warn' | 'fail';

/** One line of `doctor`: what was looked at, how it is, and the command that helps. */
export interface Finding {
  what: string;
  state: FindingState;
  sentence: string;
  fix: string | null;
  /** The entry of the runbook that says more; absent: there is none. */
  runbook?: string;
}

export const finding = (what: string, state: FindingState, sentence: string, fix: string | null = null): Finding => ({
  what,
  state,
  sentence,
  fix,
});
