import type { Hosting } from '../../../scheduler/hosting/hosted-edits.ts';

/** A GitLab that was booted beside the grace of its host, of exactly the round with which the ledger has it go on here. */
export interface ReadyClone {
  /** Its container, without network as yet. */
  id: string;
  /** With `live` and `bulk`, until the data place has them. */
  folder: string;
}

/** What the keeper asks of who boots beside. */
export interface BesidePort {
  /** Null where there is none, or one of something else: GitLab is booted anew then. */
  ready(hosting: Hosting): ReadyClone | null;
  /** It serves: nobody's clone any more. */
  taken(): Promise<void>;
  /** None of this node's runs when it returns, on whatever data. Throws `no-docker`. */
  none(hosting: Hosting): Promise<void>;
}
