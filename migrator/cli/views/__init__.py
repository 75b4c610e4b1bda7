"""What results look like: a document for programs and lines for people, made from a service's values. No IO here."""
