// A scene from the server the page came from.

async function fetchCloud({ id, name, source, place = name }, signal, tell) {
  const header = { source, ...(await (await ask(`clouds/${id}/header.json`, signal)).json()) };
  const answer = await ask(`clouds/${id}/points.bin`, signal);
  const total = +answer.headers.get("Content-Length");
  const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
  let got = 0;
  const counted = answer.body.pipeThrough(new TransformStream({
    transform(chunk, out) {
      got += chunk.length;
      tell(total ? `${megabytes(got)} of ${megabytes(total)} MB` : `${megabytes(got)} MB`);
      out.enqueue(chunk);
    },
  }));
  return { id, place, header, points: new Points(header, await unpack(header, counted)) };
}

// An answer of the server, or its own sentence as an error.
async function ask(path, signal) {
  let answer;
  try {
    answer = await fetch(path, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer; start pointseg view again and reload this page.");
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw new Error(told.error || `The server answered ${answer.status} to ${path}.`);
}
