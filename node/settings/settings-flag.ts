type FlagKind =
  | 'switch'
  | 'text'
  | 'hostname'
  | 'folder'
  | 'optional'
  | 'list'
  | 'duration'
  | 'size'
  | 'count'
  | 'percent'
  | 'port'
  | 'choice';

export interface Flag {
  /** Key in autogit.yml; `jobs.all` is `all` under `jobs:`. */
  readonly key: string;
  /** Long name without dashes. A switch that is on by default is offered as `--no-NAME`. */
  readonly name: string;
  readonly short?: string;
  readonly kind: FlagKind;
  /** Name of the value in the help. */
  readonly value?: string;
  readonly choices?: readonly string[];
  /** What separates the parts of a list in one text; a comma unless it says otherwise. */
  readonly separator?: string;
  readonly default?: boolean | string;
  /** Commands that take it; `*` = all. */
  readonly commands: readonly string[];
  readonly help: string;
  /** Where it means something else for one of its commands: its help there. */
  readonly helpOf?: Readonly<Record<string, string>>;
}
