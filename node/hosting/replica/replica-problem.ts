/** What went wrong with a copy or its disk, and what a person does about it. */
export class ReplicaProblem extends Error {
  override readonly name = 'ReplicaProblem';

  constructor(message: string, fix: string, cause?: unknown) {
    super(`${message}; ${fix}`, { cause });
  }
}

/** How a standby without room begins what it says to the host, in words, since they cross the wire as words. */
const full = 'full: ';

export const fullProblem = (message: string, fix: string): ReplicaProblem =>
  new ReplicaProblem(`${full}${message}`, fix);

export const standbyIsFull = (said: string): boolean => said.includes(full);

/** The standby's own word why it did not take a round. */
export class RoundRefused extends Error {
  override readonly name = 'RoundRefused';
}
