// What npm's prometheus-query makes of every call that it has. Takes the package's folder and the collector's address; prints "read".
const assert = require('node:assert/strict');
const [folder, endpoint] = process.argv.slice(-2);
const { PrometheusDriver } = require(`${folder}/node_modules/prometheus-query`);

async function read(preferPost) {
  const client = new PrometheusDriver({ endpoint, preferPost });
  const end = Date.now() + 2000;
  const start = end - 120_000;

  const now = await client.instantQuery('node_load1{job="node"}');
  assert.equal(now.resultType, 'vector');
  assert.equal(now.result.length, 1);
  assert.equal(now.result[0].metric.name, 'node_load1');
  assert.ok(now.result[0].value.value >= 0 && now.result[0].value.time instanceof Date, now.result[0]);
  assert.equal((await client.instantQuery('6 * 7')).result[1], '42');

  const rows = await client.rangeQuery('node_load1', start, end, '1s');
  assert.equal(rows.resultType, 'matrix');
  assert.ok(rows.result[0].values.length > 0 && Number.isFinite(rows.result[0].values[0].value), rows);

  const series = await client.series('node_load1', start, end);
  assert.deepEqual(series.map((one) => one.name), ['node_load1']);
  assert.equal(series[0].labels.job, 'node');
  assert.ok((await client.labelNames(['node_load1'], start, end)).includes('instance'));
  assert.deepEqual(await client.labelValues('job', ['node_load1'], start, end), ['node']);

  const metadata = await client.metadata('node_load1');
  assert.equal(metadata.node_load1[0].type, 'gauge');

  const targets = await client.targets('any');
  assert.ok(targets.activeTargets.length > 0 && targets.activeTargets[0].health === 'up', targets);
  assert.deepEqual(targets.droppedTargets, []);

  const groups = await client.rules();
  assert.deepEqual(groups.map((group) => [group.name, group.interval]), [['javascript', 1]]);
  assert.deepEqual(groups[0].rules.map((rule) => [rule.name, rule.type, rule.health]), [
    ['load:max', 'recording', 'ok'],
    ['Loaded', 'alerting', 'ok'],
  ]);
  const [alert] = await client.alerts();
  assert.equal(alert.state, 'firing');
  assert.deepEqual(alert.annotations, { summary: 'the host is there' });
  assert.ok(alert.activeAt instanceof Date && !Number.isNaN(alert.activeAt.valueOf()));

  assert.deepEqual((await client.alertmanagers()).droppedAlertmanagers, []);
  assert.equal(typeof (await client.statusBuildinfo()).version, 'string');
  assert.equal(typeof (await client.status()).yaml, 'string');
  assert.equal(typeof (await client.statusFlags())['query.lookback-delta'], 'string');
  assert.ok(Date.parse((await client.statusRuntimeInfo()).startTime) <= end);
  assert.ok((await client.statusTSDB()).headStats.numSeries > 0);

  // The client throws the server's words under a type of its own.
  await assert.rejects(client.instantQuery('sum('), { status: 'error', errorType: 'http_error', error: /parse error/ });
  await assert.rejects(client.adminCleanTombstones(), { status: 'error', error: /admin/ });
}

read(false)
  .then(() => read(true))
  .then(() => console.log('read'))
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
