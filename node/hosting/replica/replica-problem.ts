/** What went wrong with a copy or its disk, and what a person does about it. */
export class ReplicaProblem extends Error {
  override readonly name = 'ReplicaProblem';

  constructor(message: string, fix: string, cause?: unknown) {
    super(`${message}; ${fix}`, { cause });
  }
}
