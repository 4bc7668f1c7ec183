/**
 * What becomes of a key of the seed design: it is a setting of ours, the mesh decides it, this version cannot do it yet,
 * a key of ours in the same file says it otherwise, or it was never filled in.
 */
export type Fate = 'obeyed' | 'mesh' | 'not yet' | 'overruled' | 'placeholder';

/** What a warning is about; several keys share one. */
export type Topic = 'settings' | 'hosting' | 'mirroring' | 'machines' | 'gpus' | 'health' | 'notify';

export interface Note {
  /** As it stands in the file: `runners.gpu[0].host`. */
  readonly key: string;
  readonly line: number;
  /** As it was written; lists with commas. */
  readonly text: string;
  readonly fate: Fate;
  readonly topic: Topic;
  /** The setting of ours that it is, or that overrules it. */
  readonly as?: string;
}

/** Where in the file a setting stands, and under which key. */
export interface Place {
  readonly key: string;
  readonly line: number;
}

/** The machine that reads the file: entries of the seed design's `runners` are of one machine each. */
export interface ThisMachine {
  readonly name: string;
  /** Its host names and addresses. */
  readonly hosts: ReadonlySet<string>;
}
