import type { Adoption } from './adoption-journal.ts';

/** The container that a person started: each call by itself, and the same when it is made again. */
export interface OldContainer {
  /** Null where it is gone. */
  look(id: string): Promise<{ name: string; isRunning: boolean; startedAt: string } | null>;
  setRestart(id: string, policy: Adoption['container']['restart']): Promise<void>;
  stop(id: string): Promise<void>;
  /** False where another container has that name. */
  rename(id: string, name: string): Promise<boolean>;
  start(id: string): Promise<void>;
  /** The name of another one that runs on its data, as somebody or something (a unit of systemd, compose) made it anew. */
  otherOn(adoption: Pick<Adoption, 'container' | 'folders'>): Promise<string | null>;
}

/** Where its data shall lie as the mesh's. */
export interface AdoptedPlace {
  /** Whatever an agent of before left of it goes first; whole, on the disk and marked for that epoch when it resolves. */
  make(
    adoption: Adoption,
    epoch: number,
    say: (phase: string, percent: number | null) => void,
    givenUp: AbortSignal,
  ): Promise<void>;
  /** None there is fine. */
  drop(adoption: Adoption): Promise<void>;
}
