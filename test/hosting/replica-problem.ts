/** What went wrong with a copy or its disk, and what a person does about it. */
export class ReplicaProblem extends Error {
  override readonly name = 'ReplicaProblem';
  readonly fix: string;

  constructor(message: string, fix: string, cause?: unknown) {
    super(`${message}; ${fix}`, { cause });
    this.fix = fix;
  }
}

export const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
