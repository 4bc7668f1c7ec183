import { useState } from 'preact/hooks';
import { type GitlabPanel, gitlabPanel } from '../view/gitlab-panel.ts';
import type { PageState } from '../view/page-state.ts';
import { backupAct, isOperator, isOwner, moveAct, moveCancelAct, type PageAct } from '../view/person-acts.ts';
import { GitlabHistory } from './history.tsx';
import { ActButton } from './machines.tsx';
import { Badge, Bar, Dot, Fix, plain } from './words.tsx';

interface Props {
  state: PageState;
  ask(act: PageAct): void;
}

/** GitLab: how it is, what would be lost, who holds copies, what is done with it. */
export function Gitlab({ state, nowMs, ask }: Props & { nowMs: number }) {
  const { status } = state;
  if (status === null) return null;
  const panel = gitlabPanel(status);
  return (
    <section id="gitlab" aria-labelledby="gitlab-title">
      <h2 id="gitlab-title">GitLab</h2>
      <div class={`card ${panel.tone}`}>
        <header>
          <h3>
            {panel.url === null ? (
              'no GitLab'
            ) : (
              <a href={panel.url} rel="noreferrer noopener" target="_blank">
                {plain(panel.url.replace(/^https?:\/\//, ''))}
              </a>
            )}
          </h3>
          <Badge tone={panel.tone}>{panel.state}</Badge>
        </header>
        {status.gitlab.mode === 'none' && <NoGitlab />}
        {panel.host !== null && <p class="facts">runs on {plain(panel.host)}</p>}
        {panel.because !== null && panel.tone !== 'good' && <p class="because">{plain(panel.because)}</p>}
        {panel.flag !== null && <p class="because fail">{plain(panel.flag)}</p>}
        {panel.reasons.map(({ sentence, fix }) => (
          <div key={sentence}>
            <p class="because">{plain(sentence)}</p>
            <Fix text={fix} />
          </div>
        ))}
        {panel.doing.map(({ what, phase, percent }) => (
          <div key={what} class="doing">
            <p>
              {plain(what)}: {plain(phase)}
            </p>
            {percent !== null && (
              <Bar percent={percent} tone="busy" label={`${plain(what)}: ${Math.floor(percent)} %`} />
            )}
          </div>
        ))}
        <Loss panel={panel} />
        {panel.rows.length > 0 && (
          <dl class="rows">
            {panel.rows.map(([name, value], index) => (
              // A row without a name goes on with the one above.
              <div key={`${name}${index}`}>
                <dt>{name}</dt>
                <dd>{plain(value)}</dd>
              </div>
            ))}
          </dl>
        )}
        {panel.hasHistory && <GitlabHistory nowMs={nowMs + state.skewMs} />}
        <GitlabActs state={state} panel={panel} ask={ask} />
      </div>
    </section>
  );
}

const NoGitlab = () => (
  <>
    <p>The mesh can run one, or take jobs from one that runs already.</p>
    <Fix text="autogit-node gitlab deploy" />
    <Fix text="autogit-node gitlab connect URL --token-env VAR" />
  </>
);

/** What the death of its machine would cost now, and who holds what. */
const Loss = ({ panel }: { panel: GitlabPanel }) => (
  <>
    {panel.loss && (
      <div class="loss">
        <p>
          {plain(panel.loss.when)}: <strong class={panel.loss.tone}>{plain(panel.loss.words)}</strong>
        </p>
        <Bar
          percent={panel.loss.percent}
          tone={panel.loss.tone}
          label={`what would be lost: ${plain(panel.loss.words)}`}
        />
      </div>
    )}
    {panel.copies.length > 0 && (
      <ul class="copies" aria-label="copies of GitLab">
        {panel.copies.map(({ node, tone, state, age, percent, because }) => (
          <li key={node}>
            <p>
              <Dot tone={tone} /> <strong>{plain(node)}</strong> {state}
              {age !== null && `, ${age}`}
            </p>
            {percent !== null && <Bar percent={percent} tone="busy" label={`copy on ${plain(node)}`} />}
            {tone !== 'good' && <p class="because">{plain(because)}</p>}
          </li>
        ))}
      </ul>
    )}
    {panel.forecast !== null && <p class="forecast">{plain(panel.forecast)}</p>}
  </>
);

function GitlabActs({ state, panel, ask }: Props & { panel: GitlabPanel }) {
  const [to, setTo] = useState('');
  const chosen = panel.mayMoveTo.includes(to) ? to : (panel.mayMoveTo[0] ?? '');
  const canMove = isOwner(state) && panel.mayMoveTo.length > 0 && panel.host !== null;
  const canBackUp = isOperator(state) && panel.hasBackups;
  if (!canMove && !canBackUp) return null;
  return (
    <div class="acts">
      {canBackUp && <ActButton act={backupAct} label="Back up now" ask={ask} />}
      {canMove && panel.isMoving && <ActButton act={moveCancelAct} label="Do not move it" ask={ask} />}
      {canMove && !panel.isMoving && (
        <>
          <label>
            move to{' '}
            <select value={chosen} onChange={({ currentTarget }) => setTo(currentTarget.value)}>
              {panel.mayMoveTo.map((node) => (
                <option key={node} value={node}>
                  {plain(node)}
                </option>
              ))}
            </select>
          </label>
          <ActButton act={moveAct(panel.host as string, chosen)} label="Move…" ask={ask} />
        </>
      )}
    </div>
  );
}
