/** What the rows of `npm run bench -- protect` are measured with. */
export interface ProtectStage {
  trials: number;
  /** Bytes of what the issue calls 2 GiB: an artifact, and a database or a drill in proportion to it. */
  sizeBytes: number;
  /** Named by `--only`, or nothing was. */
  wants(part: string): boolean;
  say(line: string): void;
}
