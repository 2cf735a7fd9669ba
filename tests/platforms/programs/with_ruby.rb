# Prints, for each line read, the credentials that the default chain of the AWS SDK for Ruby holds at that moment.

require "json"
require "aws-sdk-core"

def answer(fields)
  puts JSON.generate(fields)
  $stdout.flush
end

answer(version: Aws::CORE_GEM_VERSION)
client = nil
while $stdin.gets
  begin
    client ||= Aws::STS::Client.new
    provider = client.config.credentials
    raise Aws::Errors::MissingCredentialsError, "no credentials" if provider.nil?

    keys = provider.credentials
    raise Aws::Errors::MissingCredentialsError, "no credentials" unless keys&.set?

    answer(id: keys.access_key_id, secret: keys.secret_access_key, token: keys.session_token)
  rescue StandardError, NotImplementedError => e
    # What was not found at first is looked for again.
    client = nil if client&.config&.credentials.nil?
    answer(error: "#{e.class}: #{e.message}")
  end
end
